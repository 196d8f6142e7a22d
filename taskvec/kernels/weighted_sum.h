#pragma once

#include "taskvec/core/tensor_view.h"

namespace taskvec::kernels {

/// One addend of a weighted sum.
struct Addend {
  Dtype dtype;
  const std::byte* data;  ///< n elements, any alignment
  double coefficient;
};

/// out[i] := sum_k coefficient_k * data_k[i], k in order, each product and sum rounded in the compute format (the widest
/// compute_dtype of addends and output; the coefficient is converted to it first), then once to `to`.
/// Where the coefficients sum to 1 and all addends, of the output's dtype, hold the same bits, the result is those bits: neither
/// rounding nor -inf - -inf changes what no source changes.
/// The bytes do not depend on the SIMD level: products and sums are separate operations on every one.
/// @param n    number of elements
/// @param out  n elements of `to`, any alignment; may not alias the addends
/// Source: task arithmetic, Ilharco et al. 2023, section 2.
void weighted_sum(std::span<const Addend> addends, int64_t n, Dtype to, std::byte* out);

}  // namespace taskvec::kernels
