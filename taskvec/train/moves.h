#pragma once

#include "taskvec/train/step.h"

#include <string>

namespace taskvec::train {

/// What training moves of an image encoder: its weights themselves, or low-rank adapters of them (LoRA, Hu et al. 2021),
/// W = W0 + B·A with A random and B = 0 at the start.
///
/// In the tangent space an adapter is taken to first order, too: at B = 0 the derivative of B·A is δB·A, so that A stays and
/// τ = B·A is linear in B.
class Moves {
 public:
  struct Options {
    std::string only = "*";  ///< glob of the weights that move
    int64_t rank = 0;        ///< of adapters to the matrices of the blocks; 0: none, weights move themselves
    bool linear = false;     ///< in the tangent space: A stays
    uint64_t seed = 0;       ///< of A
  };

  /// @param origin  the image encoder, float32; never written to
  /// @throws Error{InvalidArgument} where the pattern leaves nothing to train, or the rank exceeds a matrix's
  Moves(const bridge::Params& origin, const Options& options);

  /// What the optimiser updates: leaves that require gradients, by weight's name, or "<weight>.lora_A" and "<weight>.lora_B".
  const bridge::Params& leaves() const { return leaves_; }
  /// The image encoder at the leaves, which the result is differentiable by.
  bridge::Params weights() const;
  /// τ: weights() less the origin, of the weights that move, without gradients.
  bridge::Params displacement() const;
  /// Gradients with respect to the leaves, in their order, from those with respect to displacement().
  std::vector<at::Tensor> pull_back(std::vector<at::Tensor> grads) const;

 private:
  /// A weight with adapters.
  struct Adapter {
    std::string weight;
    at::Tensor a, b;  // [rank, in], [out, rank]
  };

  bridge::Params origin_, leaves_;
  std::vector<Adapter> adapters_;
};

}  // namespace taskvec::train
