#pragma once

#include <ATen/ATen.h>

#include <string_view>

namespace taskvec::bridge {

/// What a network computes in. Weights, their updates, heads and losses are float32 in each.
enum class Precision {
  Float32,  ///< IEEE float32 everywhere
  Tf32,     ///< matrix products of float32 whose factors are rounded to 10 bits of mantissa: on CUDA devices alone
  Bf16      ///< activations and the weights that meet them in bfloat16
};

std::string_view name(Precision precision);  ///< "float32", "tf32", "bf16"
/// Also under the names that dtypes have elsewhere: "F32", "bfloat16", ... @throws Error{InvalidArgument} for another text
Precision parse_precision(std::string_view text);

/// The dtype of a network's inputs, which it computes in.
at::ScalarType compute_dtype(Precision precision);

/// Sets what libtorch's float32 matrix products round to, for the whole process.
/// @throws Error{Unsupported} for tf32 without a CUDA device
void use_precision(Precision precision, const at::Device& device);

}  // namespace taskvec::bridge
