#include "taskvec/kernels/elect.h"

#include "taskvec/kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/elect.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<double>;
using F = hn::Rebind<float, D>;
using V = hn::Vec<D>;

/// f * x, x from float32
HWY_INLINE V product(double factor, const float* x) {
  return hn::Mul(hn::Set(D(), factor), hn::PromoteTo(D(), hn::LoadU(F(), x)));
}

/// Elements [0, n): n is a multiple of the lanes.
void merge(const float* HWY_RESTRICT rows, size_t stride, size_t count, const double* factors, const double* weights, bool plus,
           bool normalize, float* HWY_RESTRICT out, size_t n) {
  const D d;
  const V zero = hn::Zero(d);
  for (size_t j = 0; j < n; j += hn::Lanes(d)) {
    V sum = zero;
    for (size_t i = 0; i < count; ++i) sum = hn::Add(sum, product(factors[i], rows + i * stride + j));
    const auto positive = plus ? hn::Ge(sum, zero) : hn::Gt(sum, zero);
    V merged = zero, weight = zero;
    for (size_t i = 0; i < count; ++i) {
      const V value = product(factors[i], rows + i * stride + j);
      const auto agrees = hn::Or(hn::And(positive, hn::Gt(value, zero)), hn::AndNot(positive, hn::Lt(value, zero)));
      merged = hn::Add(merged, hn::IfThenElseZero(hn::Or(agrees, hn::IsNaN(value)), value));
      weight = hn::Add(weight, hn::IfThenElseZero(agrees, hn::Set(d, weights[i])));
    }
    if (normalize) merged = hn::Div(merged, hn::IfThenElse(hn::Eq(weight, zero), hn::Set(d, 1), weight));
    hn::StoreU(hn::DemoteTo(F(), merged), F(), out + j);
  }
}

int64_t balance(const float* HWY_RESTRICT rows, size_t stride, size_t count, const double* factors, size_t n) {
  const D d;
  int64_t result = 0;
  for (size_t j = 0; j < n; j += hn::Lanes(d)) {
    V sum = hn::Zero(d);
    for (size_t i = 0; i < count; ++i) sum = hn::Add(sum, product(factors[i], rows + i * stride + j));
    result += static_cast<int64_t>(hn::CountTrue(d, hn::Gt(sum, hn::Zero(d))));
    result -= static_cast<int64_t>(hn::CountTrue(d, hn::Lt(sum, hn::Zero(d))));
  }
  return result;
}

size_t lanes() { return hn::Lanes(D()); }

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

namespace taskvec::kernels {
namespace {

HWY_EXPORT(merge);
HWY_EXPORT(balance);
HWY_EXPORT(lanes);

/// The elements behind the last whole vector, with zeros behind them.
std::vector<float> rest_of(std::span<const float> rows, size_t stride, size_t count, size_t begin, size_t n, size_t lanes) {
  std::vector<float> rest(count * lanes);
  for (size_t i = 0; i < count; ++i)
    for (size_t j = begin; j < n; ++j) rest[i * lanes + j - begin] = rows[i * stride + j];
  return rest;
}

}  // namespace

void merge_agreeing(std::span<const float> rows, size_t stride, std::span<const double> factors, std::span<const double> weights,
                    bool plus, bool normalize, std::span<float> out) {
  use_simd_level();
  const size_t step = HWY_DYNAMIC_DISPATCH(lanes)(), whole = out.size() / step * step;
  HWY_DYNAMIC_DISPATCH(merge)
  (rows.data(), stride, factors.size(), factors.data(), weights.data(), plus, normalize, out.data(), whole);
  if (whole == out.size()) return;
  const auto rest = rest_of(rows, stride, factors.size(), whole, out.size(), step);
  std::vector<float> last(step);
  HWY_DYNAMIC_DISPATCH(merge)
  (rest.data(), step, factors.size(), factors.data(), weights.data(), plus, normalize, last.data(), step);
  for (size_t j = whole; j < out.size(); ++j) out[j] = last[j - whole];
}

int64_t sign_balance(std::span<const float> rows, size_t stride, std::span<const double> factors, size_t n) {
  use_simd_level();
  const size_t step = HWY_DYNAMIC_DISPATCH(lanes)(), whole = n / step * step;
  const int64_t result = HWY_DYNAMIC_DISPATCH(balance)(rows.data(), stride, factors.size(), factors.data(), whole);
  if (whole == n) return result;
  const auto rest = rest_of(rows, stride, factors.size(), whole, n, step);
  return result + HWY_DYNAMIC_DISPATCH(balance)(rest.data(), step, factors.size(), factors.data(), step);
}

}  // namespace taskvec::kernels
#endif
