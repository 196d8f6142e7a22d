#pragma once

#include "taskvec/models/clip.h"

#include <string>

namespace taskvec::models {

/// Reads parameters under a prefix, converted to the dtype that the network computes in (without a copy where they have it).
struct Weights {
  const bridge::Params& params;
  std::string prefix;
  at::ScalarType dtype;

  at::Tensor operator()(std::string_view name) const { return params.at(prefix + std::string(name)).to(dtype); }
  Weights in(std::string_view name) const { return {params, prefix + std::string(name) + ".", dtype}; }
};

/// Layer norm over the last dimension with `<name>.weight` and `<name>.bias`.
at::Tensor layer_norm(const Weights& weights, std::string_view name, const at::Tensor& x, double eps);

/// One pre-layer-norm transformer block of CLIP: x + attention(norm1(x)), then + mlp(norm2(.)).
/// @param x       [batch, length, width]
/// @param causal  position i attends to positions up to i only
/// @return        [batch, length, width]
at::Tensor transformer_block(const Weights& weights, const ClipTowerConfig& config, const at::Tensor& x, bool causal);

/// The same block, evaluated at one position of each sequence: all that a tower's last block is asked for, at a fraction of the
/// cost.
/// @param positions  [batch] int64
/// @return           [batch, width]
at::Tensor transformer_block_at(const Weights& weights, const ClipTowerConfig& config, const at::Tensor& x,
                                const at::Tensor& positions, bool causal);

}  // namespace taskvec::models
