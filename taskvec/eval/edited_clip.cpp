#include "taskvec/eval/edited_clip.h"

#include "taskvec/core/error.h"

#include <fmt/ranges.h>

namespace taskvec::eval {
namespace {

/// The folder that a checkpoint lies in, with config.json beside the weights.
std::filesystem::path model_folder(const formats::Checkpoint& checkpoint) {
  const std::filesystem::path& path = checkpoint.path();
  return std::filesystem::is_directory(path) ? path : path.parent_path();
}

}  // namespace

EditedParams::EditedParams(const edit::Plan& layout) {
  for (const edit::TensorPlan& tensor : layout.tensors) {
    tensors_.push_back(at::empty(tensor.info.shape, bridge::to_scalar_type(tensor.info.dtype)));
    params_.add(tensor.name, tensors_.back());
  }
}

std::span<std::byte> EditedParams::tensor(size_t index, const edit::TensorPlan& tensor) {
  return {static_cast<std::byte*>(tensors_.at(index).mutable_data_ptr()), static_cast<size_t>(tensor.info.nbytes())};
}

EditedClip::EditedClip(const edit::Expr& expr, const edit::Bindings& sources, edit::PlanOptions options, at::Device device)
    : device_(device) {
  options.dtype = Dtype::F32;
  resident_ = std::make_unique<edit::Resident>(expr, sources, options);
  const edit::Plan& plan = resident_->layout();
  folder_ = model_folder(*plan.sources.at(plan.base));
  network_ = std::make_unique<const models::Clip>(models::open_clip(folder_).network);
  edited_ = std::make_unique<EditedParams>(plan);
  network_->params().check(edited_->params(), plan.expression);
  if (device_.is_cpu() || !plan.calls.empty()) return;  // methods are computed on the CPU
  edited_.reset();
  sum_ = std::make_unique<DeviceSum>(device_);
}

const bridge::Params& EditedClip::apply(std::span<const double> values) {
  if (values.size() != coefficients().size()) {
    fail(ErrorCode::InvalidArgument, "{}: {} values for {} coefficients ({}); give one with --set NAME=NUMBER",
         layout().expression, values.size(), coefficients().size(), fmt::join(coefficients(), ", "));
  }
  if (sum_) return sum_->apply(resident_->at(values));
  resident_->apply(values, *edited_);
  if (device_.is_cpu()) return edited_->params();
  moved_ = edited_->params().map([&](const std::string&, const at::Tensor& tensor) { return tensor.to(device_); });
  return moved_;
}

}  // namespace taskvec::eval
