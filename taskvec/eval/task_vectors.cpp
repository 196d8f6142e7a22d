#include "taskvec/eval/task_vectors.h"

#include "taskvec/core/error.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

namespace taskvec::eval {
namespace {

constexpr int64_t kSlice = int64_t{1} << 18;  // elements: 2 MiB a model in float64

const at::Tensor& matching(const std::pair<std::string, bridge::Params>& model, const std::string& name, const at::Tensor& base) {
  const at::Tensor* tensor = model.second.find(name);
  if (tensor == nullptr) fail(ErrorCode::NotFound, "model '{}' has no tensor '{}', which the base has", model.first, name);
  if (tensor->sizes() == base.sizes()) return *tensor;
  fail(ErrorCode::InvalidArgument, "tensor '{}' of model '{}': expected the base's shape {}, got {}", name, model.first,
       to_string(base.sizes().vec()), to_string(tensor->sizes().vec()));
}

}  // namespace

TaskVectorGeometry task_vector_geometry(const bridge::Params& base,
                                        const std::vector<std::pair<std::string, bridge::Params>>& models,
                                        const std::function<bool(std::string_view)>& include) {
  const at::NoGradGuard no_grad;
  const auto k = static_cast<int64_t>(models.size());
  at::Tensor gram = at::zeros({k, k}, at::kDouble);
  for (const auto& [name, tensor] : base) {
    if (!tensor.is_floating_point() || !include(name)) continue;
    const at::Tensor from = tensor.reshape(-1);
    std::vector<at::Tensor> to;
    for (const auto& model : models) to.push_back(matching(model, name, tensor).reshape(-1));
    for (int64_t begin = 0; begin < from.numel() && k > 0; begin += kSlice) {
      const int64_t end = std::min(from.numel(), begin + kSlice);
      const at::Tensor origin = from.slice(0, begin, end).to(at::kDouble);
      std::vector<at::Tensor> rows;
      for (const at::Tensor& point : to) rows.push_back(point.slice(0, begin, end).to(at::kDouble) - origin);
      const at::Tensor vectors = at::stack(rows);
      gram += vectors.matmul(vectors.t()).cpu();
    }
  }

  TaskVectorGeometry geometry;
  const auto dot = gram.accessor<double, 2>();
  for (int64_t i = 0; i < k; ++i) {
    geometry.names.push_back(models[static_cast<size_t>(i)].first);
    geometry.norms.push_back(std::sqrt(dot[i][i]));
    auto& dots = geometry.dots.emplace_back();
    auto& cosines = geometry.cosines.emplace_back();
    for (int64_t j = 0; j < k; ++j) {
      dots.push_back(dot[i][j]);
      cosines.push_back(i == j && dot[i][i] > 0 ? 1.0 : dot[i][j] / std::sqrt(dot[i][i] * dot[j][j]));
    }
  }
  return geometry;
}

std::vector<std::pair<std::string, std::vector<std::string>>> layer_groups(const models::Clip& network) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const models::ParamInfo& info : network.params().params) {
    if (!models::Clip::is_image_encoder(info.name)) continue;
    const std::string group = info.layer >= 0                          ? fmt::format("layer {}", info.layer)
                              : info.name.starts_with("vision_model.") ? "around the layers"
                                                                       : "projection";
    auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& entry) { return entry.first == group; });
    if (found == groups.end()) found = groups.insert(groups.end(), {group, {}});
    found->second.push_back(info.name);
  }
  return groups;
}

}  // namespace taskvec::eval
