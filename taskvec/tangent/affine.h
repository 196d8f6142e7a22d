#pragma once

#include "taskvec/tangent/linearized.h"

namespace taskvec::tangent {

/// Outputs of a linearised network as an affine function of coefficients: f_lin(x; θ0 + Σ c_k τ_k) = f0 + Σ c_k p_k, where
/// p_k = J(x; θ0) τ_k. Computed once, every further coefficient vector costs one matrix product.
class AffineOutputs {
 public:
  /// @param value  f0 [samples, outputs] and K tangents of its shape, as Linearized::jvp() gives them
  explicit AffineOutputs(const models::Dual& value);

  /// @param coefficients  K numbers. @return [samples, outputs]
  /// @throws Error{InvalidArgument} for another number of them
  at::Tensor at(std::span<const double> coefficients) const;
  const at::Tensor& origin() const { return origin_; }  ///< f0, [samples, outputs]
  at::Tensor slopes() const;                            ///< p_k, [K, samples, outputs]

 private:
  at::Tensor origin_, slopes_;  // [samples, outputs], [K, samples * outputs]
};

}  // namespace taskvec::tangent
