#pragma once

#include "taskvec/report/plot.h"

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

/// A mean over samples with the half width of its 95 % interval (normal approximation over the samples).
struct Mean {
  double value = 0, half_width = 0;
};

struct Disentanglement {
  at::Tensor error;  ///< ξ [grid, grid] float64; row: α1, column: α2; between 0 and 2 for ZeroOne
  Mean everywhere;   ///< of ξ over the grid
  Mean box;          ///< of ξ over the points of the grid in [0, 1]², where task arithmetic looks for coefficients
};

/// The disentanglement error of two task vectors (Ortiz-Jimenez et al. 2023, eq. 6):
///
///     ξ(α1, α2) = Σ_t E_{x of task t} dist(f(x; θ0 + α_t τ_t), f(x; θ0 + α1 τ1 + α2 τ2))
///
/// @param on_point  called after each point of the grid
/// @throws Error{Numeric} naming the point where logits are not finite
Disentanglement disentanglement_error(const Logits& logits, std::span<const double> grid, Distance distance = Distance::ZeroOne,
                                      const std::function<void()>& on_point = {});

/// The map as a picture, with a frame around [0, 1]². @param first,second  what the vectors are called
report::HeatMap error_plot(const Disentanglement& map, std::span<const double> grid, const std::string& first,
                           const std::string& second, const std::string& mode);

}  // namespace taskvec::analysis
