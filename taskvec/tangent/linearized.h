#pragma once

#include "taskvec/models/clip.h"

#include <functional>
#include <span>

namespace taskvec::tangent {

/// A network to first order around a point θ0 of weight space (Ortiz-Jimenez et al. 2023, "Task Arithmetic in the Tangent
/// Space"):
///
///     f_lin(x; θ0 + τ) = f(x; θ0) + J(x; θ0) τ
///
/// J is never formed: J τ is one forward pass over dual numbers, Jᵀ u one reverse pass. Computes in the dtype of the inputs.
class Linearized {
 public:
  /// f and its derivatives along directions: a network's forward over dual numbers.
  using Forward =
      std::function<models::Dual(const bridge::Params& point, std::span<const bridge::Params> directions, const at::Tensor& x)>;

  /// @param origin  θ0
  Linearized(Forward forward, bridge::Params origin);

  const bridge::Params& origin() const { return origin_; }

  /// f(x; θ0) and J(x; θ0) τ_k for every direction, from one pass of the primal.
  /// @param directions  τ_k by parameter name; names that one lacks do not move
  /// @throws Error{InvalidArgument} for a name that θ0 lacks (nearest suggested) and for another shape, Error{Numeric} naming the
  ///         tensor where τ is not finite
  models::Dual jvp(std::span<const bridge::Params> directions, const at::Tensor& x) const;

  /// f_lin(x; θ0 + τ).
  at::Tensor operator()(const bridge::Params& tau, const at::Tensor& x) const;

  /// Jᵀ u: of <u, f(x; θ)> at θ0 the gradient, for the parameters that `include` picks (all by default).
  /// @param cotangent  u, of the outputs' shape
  bridge::Params vjp(const at::Tensor& x, const at::Tensor& cotangent,
                     const std::function<bool(const std::string&)>& include = {}) const;

  /// A loss of f_lin at θ0 + τ.
  struct Loss {
    double value = 0;
    std::vector<at::Tensor> grads;  ///< with respect to τ, in the order of θ0
  };
  /// f_lin is linear in τ, so that the gradient is J(x; θ0)ᵀ dloss/df_lin: one primal forward pass that keeps its activations,
  /// one tangent pass that uses them, one reverse pass through the primal. Nothing is recorded of the tangents.
  /// @param tau   floats; parameters that it lacks stay
  /// @param loss  f(x; θ0) and J τ -> a scalar; the outputs are their sum
  Loss gradients(const bridge::Params& tau, const at::Tensor& x,
                 const std::function<at::Tensor(const at::Tensor& origin, const at::Tensor& tangent)>& loss) const;

 private:
  void check(const bridge::Params& tau) const;

  Forward forward_;
  bridge::Params origin_;
};

/// The image encoder of a CLIP around `origin`; outputs are its features, not L2-normalised.
/// Lifetime: `network` outlives the result.
Linearized image_encoder(const models::Clip& network, bridge::Params origin);

/// finetuned - base, of the image encoder's parameters, in float64 where both are and in float32 otherwise.
bridge::Params task_vector(const bridge::Params& base, const bridge::Params& finetuned);

}  // namespace taskvec::tangent
