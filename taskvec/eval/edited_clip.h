#pragma once

#include "taskvec/edit/executors/execute.h"
#include "taskvec/eval/device_sum.h"
#include "taskvec/models/clip.h"

#include <memory>

namespace taskvec::eval {

/// An expression's result as parameters in memory: what Resident writes is what the network reads. The tensors are allocated
/// once.
class EditedParams : public edit::ParamSink {
 public:
  explicit EditedParams(const edit::Plan& layout);
  std::span<std::byte> tensor(size_t index, const edit::TensorPlan& tensor) override;
  const bridge::Params& params() const { return params_; }

 private:
  bridge::Params params_;
  std::vector<at::Tensor> tensors_;
};

/// A CLIP whose weights are an expression over checkpoints: never on disk, in float32, another point at every apply().
class EditedClip {
 public:
  /// The first source of the expression gives config, tokenizer and preprocessor, so it is a whole model folder.
  /// @param options  coefficients: those that stay; how sources are brought together. The dtype is float32 in any case
  /// @throws Error as the planner and models::open_clip() do
  EditedClip(const edit::Expr& expr, const edit::Bindings& sources, edit::PlanOptions options = {}, at::Device device = at::kCPU);

  const models::Clip& network() const { return *network_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// The coefficients that have no fixed value: what apply() takes, in this order.
  const std::vector<std::string>& coefficients() const { return resident_->coefficients(); }
  const at::Device& device() const { return device_; }
  const edit::Plan& layout() const { return resident_->layout(); }

  /// The parameters at these coefficients. Lifetime: the same tensors are overwritten by the next apply().
  /// @throws Error{InvalidArgument} when their number is wrong, naming those that have no value
  const bridge::Params& apply(std::span<const double> coefficients = {});

 private:
  std::filesystem::path folder_;
  std::unique_ptr<const models::Clip> network_;
  std::unique_ptr<edit::Resident> resident_;
  std::unique_ptr<EditedParams> edited_;  // on the CPU
  bridge::Params moved_;                  // what was made there, elsewhere
  std::unique_ptr<DeviceSum> sum_;        // elsewhere
  at::Device device_;
};

}  // namespace taskvec::eval
