#pragma once

#include "taskvec/core/tensor_view.h"

namespace taskvec::kernels {

/// The format that elements of `dtype` are evaluated in: F32 for 16-bit and narrower floats, F64 for F32 and F64.
Dtype compute_dtype(Dtype dtype);

/// destination[i] = source[i] in another float format, one rounding (nearest-even; overflow to infinity; F8_E4M3, which has
/// none, saturates at 448 as in torch 2.13). Every NaN becomes the quiet one without payload.
/// Sizes are in elements and must agree; spans need no alignment.
void convert(Dtype from, std::span<const std::byte> source, Dtype to, std::span<std::byte> destination);

}  // namespace taskvec::kernels
