#include "taskvec/models/dual.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <cmath>

namespace taskvec::models {
namespace {

size_t directions(std::initializer_list<const Dual*> inputs) {
  size_t count = 0;
  for (const Dual* input : inputs) count = std::max(count, input->tangents.size());
  return count;
}

/// `primal` with rule(k) as its tangents.
template <class Rule>
Dual with_tangents(at::Tensor primal, size_t count, const Rule& rule) {
  Dual result(std::move(primal));
  const at::NoGradGuard no_grad;
  for (size_t k = 0; k < count; ++k) result.tangents.push_back(rule(k));
  return result;
}

/// a + b where either may be a zero that is not there.
at::Tensor sum(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() ? a : b;
  return a + b;
}

at::Tensor rows(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

}  // namespace

void detail::refuse_tangents(std::string_view operation, const Dual& x) {
  const auto moves = [](const at::Tensor& tangent) { return tangent.defined(); };
  if (std::none_of(x.tangents.begin(), x.tangents.end(), moves)) return;
  fail(ErrorCode::Unsupported, "the operation '{}' has no derivative here, so a network that uses it cannot be linearised",
       operation);
}

Dual operator+(const Dual& a, const Dual& b) {
  at::Tensor primal = a.primal + b.primal;
  const auto shape = primal.sizes();
  return with_tangents(primal, directions({&a, &b}), [&](size_t k) {
    const at::Tensor tangent = sum(a.tangent(k), b.tangent(k));
    return tangent.defined() ? tangent.expand(shape) : tangent;
  });
}

Dual scaled(const Dual& a, double factor) {
  return linear_map(a, [&](const at::Tensor& x) { return x * factor; });
}

Dual cat(const std::vector<Dual>& parts, int64_t dim) {
  std::vector<at::Tensor> primals;
  size_t count = 0;
  for (const Dual& part : parts) {
    primals.push_back(part.primal);
    count = std::max(count, part.tangents.size());
  }
  return with_tangents(at::cat(primals, dim), count, [&](size_t k) {
    std::vector<at::Tensor> tangents;
    bool moves = false;
    for (const Dual& part : parts) {
      const at::Tensor tangent = part.tangent(k);
      moves |= tangent.defined();
      tangents.push_back(tangent.defined() ? tangent : at::zeros_like(part.primal));
    }
    return moves ? at::cat(tangents, dim) : at::Tensor();
  });
}

Dual linear(const Dual& x, const Dual& weight, const Dual& bias) {
  const std::optional<at::Tensor> shift = bias.primal.defined() ? std::optional(bias.primal) : std::nullopt;
  at::Tensor primal = at::linear(x.primal, weight.primal, shift);
  const auto shape = primal.sizes();
  // d(x wᵀ + b) = dx wᵀ + db + x dwᵀ, every sum inside a matrix product.
  return with_tangents(primal, directions({&x, &weight, &bias}), [&](size_t k) {
    const at::Tensor dx = x.tangent(k), dw = weight.tangent(k), db = bias.tangent(k);
    at::Tensor result;
    if (dx.defined()) result = at::linear(dx, weight.primal, db.defined() ? std::optional(db) : std::nullopt);
    if (!dw.defined()) return result.defined() || !db.defined() ? result : db.expand(shape);
    if (!result.defined()) return at::linear(x.primal, dw, db.defined() ? std::optional(db) : std::nullopt);
    result.view({-1, dw.size(0)}).addmm_(rows(x.primal), dw.t());
    return result;
  });
}

Dual layer_norm(const Dual& x, const Dual& weight, const Dual& bias, double eps) {
  const int64_t width = x.primal.size(-1);
  const size_t count = directions({&x, &weight, &bias});
  if (count == 0) return at::layer_norm(x.primal, {width}, weight.primal, bias.primal, eps);
  const auto [primal, mean, rstd] = at::native_layer_norm(x.primal, {width}, weight.primal, bias.primal, eps);
  at::Tensor normed;
  const auto statistics = std::pair(mean.detach(), rstd.detach());
  return with_tangents(primal, count, [&](size_t k) {
    const at::Tensor dx = x.tangent(k), dw = weight.tangent(k), db = bias.tangent(k);
    at::Tensor result = db;
    if (dw.defined()) {
      if (!normed.defined()) normed = std::get<0>(at::native_layer_norm(x.primal, {width}, {}, {}, eps));
      result = result.defined() ? at::addcmul(result, normed, dw) : normed * dw;
    }
    if (dx.defined()) {
      // Normalising has a symmetric Jacobian: its reverse rule, without scale, is its forward rule.
      const at::Tensor moved = std::get<0>(at::native_layer_norm_backward(dx.contiguous(), x.primal, {width}, statistics.first,
                                                                          statistics.second, {}, {}, {true, false, false}));
      if (dw.defined()) {
        result.addcmul_(moved, weight.primal);  // of its own memory: made above
      } else {
        result = result.defined() ? at::addcmul(result, moved, weight.primal) : moved * weight.primal;
      }
    }
    return result.defined() ? result.expand(x.primal.sizes()) : result;
  });
}

Dual attention(const Dual& q, const Dual& k, const Dual& v, const std::optional<at::Tensor>& mask, bool causal) {
  at::Tensor primal = at::scaled_dot_product_attention(q.primal, k.primal, v.primal, mask, 0.0, causal);
  const size_t count = directions({&q, &k, &v});
  if (count == 0) return primal;

  const at::NoGradGuard no_grad;
  const double scale = 1 / std::sqrt(static_cast<double>(q.primal.size(-1)));
  // Batch and heads are one dimension of matrix products, which take scale and sums with them.
  const auto flat = [](const at::Tensor& t) {
    return t.defined() ? t.reshape({t.size(0) * t.size(1), t.size(2), t.size(3)}) : t;
  };
  const at::Tensor queries = flat(q.primal), keys = flat(k.primal), values = flat(v.primal), keys_t = keys.transpose(1, 2);
  at::Tensor logits = at::bmm(queries, keys_t).mul_(scale);
  const auto hide = [&](const at::Tensor& attended) {
    logits.view({q.primal.size(0), -1, logits.size(1), logits.size(2)}).masked_fill_(attended.logical_not(), -INFINITY);
  };
  if (mask) hide(*mask);
  if (causal) hide(at::ones({logits.size(1), logits.size(2)}, logits.options().dtype(at::kBool)).tril());
  const at::Tensor weights = at::softmax(logits, -1);
  return with_tangents(std::move(primal), count, [&](size_t i) {
    const at::Tensor dq = flat(q.tangent(i)), dk = flat(k.tangent(i)), dv = flat(v.tangent(i));
    at::Tensor moved = dq.defined() ? at::bmm(dq, keys_t) : at::Tensor();  // the logits' tangent, without the scale
    if (dk.defined())
      moved = moved.defined() ? moved.baddbmm_(queries, dk.transpose(1, 2)) : at::bmm(queries, dk.transpose(1, 2));
    at::Tensor result = dv.defined() ? at::bmm(weights, dv) : at::Tensor();
    if (moved.defined()) {
      // The Jacobian of softmax is symmetric, too.
      const at::Tensor shift = at::_softmax_backward_data(moved, weights, -1, weights.scalar_type());
      result = result.defined() ? result.baddbmm_(shift, values, 1, scale) : at::bmm(shift, values).mul_(scale);
    }
    return result.defined() ? result.view({q.primal.size(0), q.primal.size(1), q.primal.size(2), v.primal.size(3)}) : result;
  });
}

Dual silu(const Dual& x) {
  return with_tangents(at::silu(x.primal), x.tangents.size(), [&](size_t k) {
    const at::Tensor dx = x.tangent(k);
    return dx.defined() ? at::silu_backward(dx, x.primal) : dx;  // elementwise: forward and reverse rule are one
  });
}

Dual gelu(const Dual& x, std::string_view approximate) {
  const c10::string_view kind(approximate.data(), approximate.size());
  return with_tangents(at::gelu(x.primal, kind), x.tangents.size(), [&](size_t k) {
    const at::Tensor dx = x.tangent(k);
    return dx.defined() ? at::gelu_backward(dx, x.primal, kind) : dx;
  });
}

}  // namespace taskvec::models
