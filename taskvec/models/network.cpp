#include "taskvec/models/network.h"

#include "taskvec/core/error.h"

namespace taskvec::models {

void ParamSpec::check(const bridge::Params& given, std::string_view origin) const {
  for (const ParamInfo& wanted : params) {
    const at::Tensor* tensor = given.find(wanted.name);
    if (tensor == nullptr) {
      std::vector<std::string> names;
      for (const auto& entry : given) names.push_back(entry.first);
      fail(ErrorCode::Format, "{}: tensor '{}' is missing: expected shape {}, and the config asks for {} tensors{}", origin,
           wanted.name, to_string(wanted.shape), params.size(), did_you_mean(wanted.name, names));
    }
    if (tensor->sizes() != at::IntArrayRef(wanted.shape)) {
      fail(ErrorCode::Format, "{}: tensor '{}': expected shape {}, got {}; do the weights and config.json belong together?",
           origin, wanted.name, to_string(wanted.shape), to_string(tensor->sizes().vec()));
    }
    const at::ScalarType type = tensor->scalar_type();
    if (type != at::kFloat && type != at::kDouble && type != at::kHalf && type != at::kBFloat16) {
      fail(ErrorCode::Format, "{}: tensor '{}': expected F64, F32, F16 or BF16 to compute with, got {}", origin, wanted.name,
           c10::toString(type));
    }
  }
}

}  // namespace taskvec::models
