#include "taskvec/eval/device_sum.h"

#include "taskvec/kernels/convert.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace taskvec::eval {
namespace {

bool same(const std::vector<edit::TensorPlan::Term>& a, const std::vector<edit::TensorPlan::Term>& b) {
  return std::ranges::equal(a, b,
                            [](const auto& x, const auto& y) { return x.source == y.source && x.coefficient == y.coefficient; });
}

/// Two elements have the same bits.
at::Tensor equal_bits(const at::Tensor& a, const at::Tensor& b) {
  constexpr std::array kIntegers{at::kByte, at::kShort, at::kInt, at::kLong};  // of 1, 2, 4 and 8 bytes
  const at::ScalarType bits = kIntegers.at(static_cast<size_t>(std::countr_zero(static_cast<uint64_t>(a.element_size()))));
  return a.view(bits).eq(b.view(bits));
}

}  // namespace

const at::Tensor& DeviceSum::source(const edit::Plan& plan, size_t source, const std::string& name) {
  const auto [found, is_new] = sources_.try_emplace({source, name});
  if (is_new) found->second = bridge::to_tensor(plan.sources[source]->tensor(name)).to(device_);
  return found->second;
}

at::Tensor DeviceSum::sum(const edit::Plan& plan, const edit::TensorPlan& tensor) {
  std::vector<at::Tensor> addends;
  bool wide = kernels::compute_dtype(tensor.info.dtype) == Dtype::F64, one_dtype = true;
  double total = 0;
  for (const auto& term : tensor.terms) {
    addends.push_back(source(plan, term.source, tensor.name));
    wide |= kernels::compute_dtype(bridge::to_dtype(addends.back().scalar_type())) == Dtype::F64;
    one_dtype &= addends.back().scalar_type() == addends.front().scalar_type();
    total += term.coefficient;
  }
  const at::ScalarType to = bridge::to_scalar_type(tensor.info.dtype), compute = wide ? at::kDouble : at::kFloat;
  if (tensor.is_copy) return addends.at(0);
  if (addends.empty()) return at::zeros(tensor.info.shape, at::TensorOptions(device_).dtype(to));
  at::Tensor result;
  for (size_t k = 0; k < addends.size(); ++k) {
    const at::Tensor product = addends[k].to(compute) * tensor.terms[k].coefficient;  // which is rounded to `compute` first
    result = k == 0 ? product : result.add_(product);
  }
  result = result.to(to);
  // What no source changes stays what it is, where the coefficients sum to 1.
  constexpr double kRounding = 1e-12;
  if (addends.size() < 2 || !one_dtype || std::abs(total - 1) > kRounding) return result;
  at::Tensor equal = equal_bits(addends[0], addends[1]);
  for (size_t k = 2; k < addends.size(); ++k) equal.logical_and_(equal_bits(addends[0], addends[k]));
  return at::where(equal, addends[0].to(to), result);
}

const bridge::Params& DeviceSum::apply(const edit::Plan& plan) {
  const at::NoGradGuard no_grad;
  terms_.resize(plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const edit::TensorPlan& tensor = plan.tensors[i];
    if (params_.contains(tensor.name) && same(terms_[i], tensor.terms)) continue;
    params_.set(tensor.name, sum(plan, tensor));
    terms_[i] = tensor.terms;
  }
  return params_;
}

}  // namespace taskvec::eval
