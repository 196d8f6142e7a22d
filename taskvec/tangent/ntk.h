#pragma once

#include "taskvec/tangent/linearized.h"

namespace taskvec::tangent {

struct NtkOptions {
  std::vector<int64_t> outputs = {};                          ///< which output coordinates; empty: all
  std::function<bool(const std::string& name)> include = {};  ///< which parameters; all by default
  int64_t memory = int64_t{1} << 30;                          ///< bytes of gradients that are kept at once
  std::function<void(int64_t entries)> on_entries = {};       ///< called as entries of the kernel are there, for one output
};

/// The empirical neural tangent kernel (Jacot et al. 2018) summed over output coordinates:
/// K[i, j] = Σ_c <∇ f_c(x_i; θ0), ∇ f_c(x_j; θ0)>, in the dtype of the inputs, products summed in float64.
/// Gradients are made in tiles of samples that fit the memory; no Jacobian is held whole.
/// @param inputs  [samples, ...]
/// @return        [samples, samples] float64, symmetric
/// @throws Error{InvalidArgument} for an output that the network does not have, and where two gradients exceed the memory
at::Tensor ntk_gram(const Linearized& network, const at::Tensor& inputs, const NtkOptions& options = {});

}  // namespace taskvec::tangent
