#pragma once

#include "taskvec/bridge/params.h"
#include "taskvec/edit/plan.h"

namespace taskvec::eval {

/// The weighted sums of a plan on a device, from sources that are copied there once: another point of a search costs no copy of
/// a model. The same numbers as edit::Resident's: the same order, each product and sum rounded (kernels/weighted_sum.h).
class DeviceSum {
 public:
  explicit DeviceSum(at::Device device) : device_(device) {}

  /// @param plan  of the same sources every time, at other coefficients. Tensors whose coefficients stay are not computed again.
  /// Lifetime of the result: the next apply().
  const bridge::Params& apply(const edit::Plan& plan);

 private:
  const at::Tensor& source(const edit::Plan& plan, size_t source, const std::string& name);
  at::Tensor sum(const edit::Plan& plan, const edit::TensorPlan& tensor);

  at::Device device_;
  std::map<std::pair<size_t, std::string>, at::Tensor> sources_;
  std::vector<std::vector<edit::TensorPlan::Term>> terms_;  // of the last apply()
  bridge::Params params_;
};

}  // namespace taskvec::eval
