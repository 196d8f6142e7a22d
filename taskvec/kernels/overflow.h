#pragma once

#include "taskvec/kernels/weighted_sum.h"

namespace taskvec::kernels {

/// Elements of a weighted sum that are NaN or infinite.
struct NonFinite {
  int64_t total = 0;
  int64_t given = 0;       ///< those of them that are not finite in an addend, either
  int64_t overflowed = 0;  ///< those of them whose evaluation in float64 is finite: narrowing made them so
};

/// The largest finite value of a float dtype.
double largest_finite(Dtype dtype);

/// Looks through out = weighted_sum(addends, n, to) for elements that are not finite.
/// @param saturate  replaces what overflowed by its evaluation in float64, rounded to `to` and clamped to its largest finite
///                  value; NaN and infinities that come from the addends stay. The bytes depend on nothing but the addends.
/// F8_E4M3 has no infinity and saturates at 448 on every conversion: nothing overflows there.
NonFinite find_overflow(std::span<const Addend> addends, int64_t n, Dtype to, std::byte* out, bool saturate);

}  // namespace taskvec::kernels
