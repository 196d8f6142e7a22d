#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string_view>
#include <vector>

namespace taskvec::models {

/// A dual number over tensors: a value and how it changes along K directions of weight space at once (forward-mode
/// differentiation; Griewank and Walther 2008, chapter 3). Networks are written over duals, so that the same code is the network
/// and its derivative.
///
/// A value without tangents is a constant: it costs what the plain operation costs. A tangent that is undefined is an exact zero,
/// and its work is skipped. Autograd records primals only.
struct Dual {
  at::Tensor primal;
  std::vector<at::Tensor> tangents;  ///< each undefined or of primal's shape; empty: a constant

  Dual() = default;
  Dual(at::Tensor value) : primal(std::move(value)) {}  // NOLINT(google-explicit-constructor): constants are values
  Dual(at::Tensor value, std::vector<at::Tensor> directions) : primal(std::move(value)), tangents(std::move(directions)) {}

  /// The k-th tangent; undefined where it is zero.
  at::Tensor tangent(size_t k) const { return k < tangents.size() ? tangents[k] : at::Tensor(); }
};

/// f(x) for a function that is linear in x: views, gathers, scalings. Its derivative is the function itself.
template <class F>
Dual linear_map(const Dual& x, const F& f) {
  Dual result(f(x.primal));
  const at::NoGradGuard no_grad;
  for (const at::Tensor& tangent : x.tangents) result.tangents.push_back(tangent.defined() ? f(tangent) : tangent);
  return result;
}

/// f(x) for an operation that has no derivative here.
/// @throws Error{Unsupported} naming the operation where x depends on the parameters that have tangents
template <class F>
Dual opaque(std::string_view operation, const Dual& x, const F& f);

Dual operator+(const Dual& a, const Dual& b);  ///< of one shape, or broadcast
Dual scaled(const Dual& a, double factor);
Dual cat(const std::vector<Dual>& parts, int64_t dim = 0);

/// x weightᵀ + bias. @param x [..., in] @param weight [out, in] @param bias [out] or undefined
Dual linear(const Dual& x, const Dual& weight, const Dual& bias = {});
/// Over the last dimension, with scale `weight` and shift `bias`.
Dual layer_norm(const Dual& x, const Dual& weight, const Dual& bias, double eps);
/// softmax(q kᵀ / √width + mask) v. @param q,k,v [batch, heads, length, width] @param mask  bool, true: attend
Dual attention(const Dual& q, const Dual& k, const Dual& v, const std::optional<at::Tensor>& mask, bool causal);
Dual silu(const Dual& x);
/// @param approximate  "none" or "tanh"
Dual gelu(const Dual& x, std::string_view approximate);

namespace detail {
void refuse_tangents(std::string_view operation, const Dual& x);
}

template <class F>
Dual opaque(std::string_view operation, const Dual& x, const F& f) {
  detail::refuse_tangents(operation, x);
  return f(x.primal);
}

}  // namespace taskvec::models
