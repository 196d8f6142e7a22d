#pragma once

#include "taskvec/formats/lora/lora.h"

namespace taskvec::formats {

/// Elements [first, first + out.size() / 4) of scale * B * A (transposed where the factors say so) as float32, row-major: each a
/// sum over the rank in float64, in order, scaled and rounded once, whatever range it is asked for in. Uses bounded memory.
/// @param weights  that the factors point into
/// @param shape    of the dense tensor
void lora_product(const Checkpoint& weights, const LoraFactors& factors, const Shape& shape, int64_t first,
                  std::span<std::byte> out);

}  // namespace taskvec::formats
