#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <span>
#include <vector>

namespace taskvec::analysis {

/// Logits of a task's inputs at θ0 + Σ_k coefficients[k] τ_k. @param task  0 or 1 @return [samples, classes]
using Logits = std::function<at::Tensor(size_t task, std::span<const double> coefficients)>;

enum class Distance {
  ZeroOne,  ///< 1 where the answers differ
  Kl        ///< KL(edited by its own vector || edited by both), in nats
};

/// The disentanglement error of two task vectors (Ortiz-Jimenez et al. 2023, eq. 6):
///
///     ξ(α1, α2) = Σ_t E_{x of task t} dist(f(x; θ0 + α_t τ_t), f(x; θ0 + α1 τ1 + α2 τ2))
///
/// @return  [grid, grid] float64; row: α1, column: α2. Between 0 and 2 for ZeroOne.
/// @throws Error{Numeric} naming the point where logits are not finite
at::Tensor disentanglement_error(const Logits& logits, std::span<const double> grid, Distance distance = Distance::ZeroOne);

}  // namespace taskvec::analysis
