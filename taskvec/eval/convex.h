#pragma once

#include "taskvec/eval/linear_sweep.h"

namespace taskvec::eval {

/// The best coefficients of a linearised model, with a proof that there are none much better.
struct ConvexSolution {
  std::vector<double> coefficients;   ///< in the order of the model's
  double loss = 0, loss_at_zero = 0;  ///< in nats, the ridge included
  double gradient_norm = 0;           ///< at the solution
  double gap = 0;  ///< the loss is at most this much above the least: |gradient|² / (2 ridge), by strong convexity
  int steps = 0;   ///< of Newton's method
};

/// Minimises, over the coefficients α of a sweep,
///
///     1/T Σ_t E_{x, y of task t} cross entropy(f_lin(x; α) head_t / ν_t, y) + ridge/2 |α|²
///
/// where ν_t is the mean norm of the task's features at α = 0. Logits are affine in α, so that the loss is convex: there is one
/// best point, and Newton's method finds it. CLIP divides each sample's features by their own norm instead, which changes no
/// answer but would make the loss depend on α in another way.
/// @param ridge  above 0
/// @throws Error{InvalidArgument} for another ridge, Error{Numeric} where outputs are not finite
ConvexSolution solve_coefficients(const LinearSweep& sweep, double ridge = 1e-4);

/// The loss that solve_coefficients() minimises.
double convex_loss(const LinearSweep& sweep, std::span<const double> coefficients, double ridge = 1e-4);

}  // namespace taskvec::eval
