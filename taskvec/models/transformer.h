#pragma once

#include "taskvec/models/clip.h"

#include <span>
#include <string>

namespace taskvec::models {

/// Reads parameters under a prefix, converted to the dtype that the network computes in (without a copy where they have it), with
/// their tangents along the directions.
struct Weights {
  const bridge::Params& params;
  std::span<const bridge::Params> directions;
  std::string prefix;
  at::ScalarType dtype;

  Dual operator()(std::string_view name) const;
  Weights in(std::string_view name) const { return {params, directions, prefix + std::string(name) + ".", dtype}; }
};

/// Layer norm over the last dimension with `<name>.weight` and `<name>.bias`.
Dual layer_norm(const Weights& weights, std::string_view name, const Dual& x, double eps);

/// One pre-layer-norm transformer block of CLIP: x + attention(norm1(x)), then + mlp(norm2(.)).
/// @param x       [batch, length, width]
/// @param causal  position i attends to positions up to i only
/// @return        [batch, length, width]
Dual transformer_block(const Weights& weights, const ClipTowerConfig& config, const Dual& x, bool causal);

/// The same block, without activations that are kept for the reverse pass: it computes them again (checkpointed.h).
Dual checkpointed_block(const Weights& weights, const ClipTowerConfig& config, const Dual& x, bool causal);

/// The same block, evaluated at one position of each sequence: all that a tower's last block is asked for, at a fraction of the
/// cost.
/// @param positions  [batch] int64
/// @return           [batch, width]
Dual transformer_block_at(const Weights& weights, const ClipTowerConfig& config, const Dual& x, const at::Tensor& positions,
                          bool causal);

}  // namespace taskvec::models
