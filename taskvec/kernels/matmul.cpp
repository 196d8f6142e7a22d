#include "taskvec/kernels/matmul.h"

#include "taskvec/kernels/simd.h"

#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/matmul.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Rows [0, 4) or the first one alone, and two vectors of columns, whose sums stay in registers over the whole depth.
template <bool kFour>
HWY_INLINE void block(const double* left, size_t depth, const double* HWY_RESTRICT right, double* HWY_RESTRICT sums,
                      size_t columns) {
  const hn::ScalableTag<double> d;
  const size_t lanes = hn::Lanes(d);
  const auto sum = [=](size_t row, size_t half) { return sums + row * columns + half * lanes; };
  auto a0 = hn::LoadU(d, sum(0, 0)), a1 = hn::LoadU(d, sum(0, 1));
  auto b0 = a0, b1 = a1, c0 = a0, c1 = a1, e0 = a0, e1 = a1;
  if constexpr (kFour) {
    b0 = hn::LoadU(d, sum(1, 0)), b1 = hn::LoadU(d, sum(1, 1));
    c0 = hn::LoadU(d, sum(2, 0)), c1 = hn::LoadU(d, sum(2, 1));
    e0 = hn::LoadU(d, sum(3, 0)), e1 = hn::LoadU(d, sum(3, 1));
  }
  for (size_t k = 0; k < depth; ++k) {
    const auto x0 = hn::LoadU(d, right + k * columns), x1 = hn::LoadU(d, right + k * columns + lanes);
    const auto fa = hn::Set(d, left[k]);
    a0 = hn::Add(a0, hn::Mul(fa, x0));
    a1 = hn::Add(a1, hn::Mul(fa, x1));
    if constexpr (kFour) {
      const auto fb = hn::Set(d, left[depth + k]), fc = hn::Set(d, left[2 * depth + k]), fe = hn::Set(d, left[3 * depth + k]);
      b0 = hn::Add(b0, hn::Mul(fb, x0));
      b1 = hn::Add(b1, hn::Mul(fb, x1));
      c0 = hn::Add(c0, hn::Mul(fc, x0));
      c1 = hn::Add(c1, hn::Mul(fc, x1));
      e0 = hn::Add(e0, hn::Mul(fe, x0));
      e1 = hn::Add(e1, hn::Mul(fe, x1));
    }
  }
  hn::StoreU(a0, d, sum(0, 0));
  hn::StoreU(a1, d, sum(0, 1));
  if constexpr (kFour) {
    hn::StoreU(b0, d, sum(1, 0));
    hn::StoreU(b1, d, sum(1, 1));
    hn::StoreU(c0, d, sum(2, 0));
    hn::StoreU(c1, d, sum(2, 1));
    hn::StoreU(e0, d, sum(3, 0));
    hn::StoreU(e1, d, sum(3, 1));
  }
}

void multiply_add_blocks(const double* left, const double* right, double* sums, size_t rows, size_t depth, size_t columns) {
  const hn::ScalableTag<double> d;
  const size_t step = 2 * hn::Lanes(d);
  size_t row = 0;
  for (; row + 4 <= rows; row += 4)
    for (size_t c = 0; c < columns; c += step)
      block<true>(left + row * depth, depth, right + c, sums + row * columns + c, columns);
  for (; row < rows; ++row)
    for (size_t c = 0; c < columns; c += step)
      block<false>(left + row * depth, depth, right + c, sums + row * columns + c, columns);
}

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace taskvec::kernels {
namespace {

HWY_EXPORT(multiply_add_blocks);

}  // namespace

void multiply_add(const double* left, const double* right, double* sums, int64_t rows, int64_t depth, int64_t columns) {
  use_simd_level();
  HWY_DYNAMIC_DISPATCH(multiply_add_blocks)
  (left, right, sums, static_cast<size_t>(rows), static_cast<size_t>(depth), static_cast<size_t>(columns));
}

}  // namespace taskvec::kernels
#endif
