#include "taskvec/models/transformer.h"

#include "taskvec/models/checkpointed.h"

namespace taskvec::models {
namespace {

struct Linear {
  Dual weight, bias;
};

Linear affine(const Weights& weights, std::string_view name) {
  const Weights own = weights.in(name);
  return {own("weight"), own("bias")};
}

Dual apply(const Linear& layer, const Dual& x) { return linear(x, layer.weight, layer.bias); }

/// One matrix product instead of several: at CLIP's sizes copying the weights costs less than it saves.
Linear stack(const Weights& weights, std::initializer_list<const char*> names) {
  std::vector<Dual> matrices, biases;
  for (const char* name : names) {
    const Linear layer = affine(weights, name);
    matrices.push_back(layer.weight);
    biases.push_back(layer.bias);
  }
  return {cat(matrices), cat(biases)};
}

/// The index-th part of [batch, length, parts * width] as [batch, heads, length, width / heads], a view.
Dual heads(const Dual& x, int64_t index, int64_t parts, int64_t count) {
  return linear_map(x, [&](const at::Tensor& t) {
    return t.view({t.size(0), t.size(1), parts, count, -1}).select(2, index).transpose(1, 2);
  });
}

/// [batch, heads, length, width / heads] -> [batch, length, width].
Dual join(const Dual& x) {
  return linear_map(x, [](const at::Tensor& t) { return t.transpose(1, 2).reshape({t.size(0), t.size(2), -1}); });
}

Dual mlp(const Weights& weights, Activation act, const Dual& x) {
  Linear fc1 = affine(weights, "fc1"), fc2 = affine(weights, "fc2");
  switch (act) {
    case Activation::QuickGelu: {
      // h * sigmoid(a h) = silu(a h) / a. Scaling the small weights instead of the large activations leaves one fused pass over
      // these.
      constexpr double kSlope = 1.702;
      fc1 = {scaled(fc1.weight, kSlope), scaled(fc1.bias, kSlope)};
      fc2.weight = scaled(fc2.weight, 1 / kSlope);
      return apply(fc2, silu(apply(fc1, x)));
    }
    case Activation::Gelu: return apply(fc2, gelu(apply(fc1, x), "none"));
    case Activation::GeluTanh: return apply(fc2, gelu(apply(fc1, x), "tanh"));
  }
  return {};
}

Dual second_half(const Weights& weights, const ClipTowerConfig& config, const Dual& x) {
  return x + mlp(weights.in("mlp"), config.hidden_act, layer_norm(weights, "layer_norm2", x, config.layer_norm_eps));
}

}  // namespace

Dual Weights::operator()(std::string_view name) const {
  const std::string full = prefix + std::string(name);
  Dual result(params.at(full).to(dtype));
  for (const bridge::Params& direction : directions) {
    const at::Tensor* tangent = direction.find(full);
    result.tangents.push_back(tangent != nullptr ? tangent->to(dtype) : at::Tensor());
  }
  return result;
}

Dual layer_norm(const Weights& weights, std::string_view name, const Dual& x, double eps) {
  const Linear scale = affine(weights, name);
  return layer_norm(x, scale.weight, scale.bias, eps);
}

Dual transformer_block(const Weights& weights, const ClipTowerConfig& config, const Dual& x, bool causal) {
  const Weights own = weights.in("self_attn");
  const int64_t count = config.num_attention_heads;
  const Dual qkv =
      apply(stack(own, {"q_proj", "k_proj", "v_proj"}), layer_norm(weights, "layer_norm1", x, config.layer_norm_eps));
  const Dual mixed = attention(heads(qkv, 0, 3, count), heads(qkv, 1, 3, count), heads(qkv, 2, 3, count), {}, causal);
  return second_half(weights, config, x + apply(affine(own, "out_proj"), join(mixed)));
}

Dual checkpointed_block(const Weights& weights, const ClipTowerConfig& config, const Dual& x, bool causal) {
  if (!at::GradMode::is_enabled()) return transformer_block(weights, config, x, causal);
  std::vector<std::string> names;
  std::vector<at::Tensor> inputs{x.primal};
  for (const auto& [name, tensor] : weights.params) {
    if (!name.starts_with(weights.prefix)) continue;
    names.push_back(name);
    inputs.push_back(tensor);
  }
  Dual result;
  {
    const at::NoGradGuard no_grad;
    result = transformer_block(weights, config, x, causal);
  }
  const auto again = [names, config, causal, prefix = weights.prefix,
                      dtype = weights.dtype](const std::vector<at::Tensor>& from) {
    bridge::Params params;
    for (size_t i = 0; i < names.size(); ++i) params.add(names[i], from[i + 1]);
    return transformer_block({params, {}, prefix, dtype}, config, from[0], causal).primal;
  };
  result.primal = checkpointed(result.primal, again, inputs);
  return result;
}

Dual transformer_block_at(const Weights& weights, const ClipTowerConfig& config, const Dual& x, const at::Tensor& positions,
                          bool causal) {
  const Weights own = weights.in("self_attn");
  const int64_t batch = x.primal.size(0), length = x.primal.size(1), width = x.primal.size(2), count = config.num_attention_heads;
  const at::Tensor rows = at::arange(batch, positions.options()) * length + positions;
  const auto pick = [&](const Dual& all) {
    return linear_map(all, [&](const at::Tensor& t) { return t.reshape({batch * length, width}).index_select(0, rows); });
  };

  const Dual normed = layer_norm(weights, "layer_norm1", x, config.layer_norm_eps);
  const Dual kv = apply(stack(own, {"k_proj", "v_proj"}), normed);
  const Dual query = linear_map(apply(affine(own, "q_proj"), pick(normed)), [](const at::Tensor& t) { return t.unsqueeze(1); });
  std::optional<at::Tensor> mask;
  if (causal) mask = (at::arange(length, positions.options()) <= positions.unsqueeze(1)).view({batch, 1, 1, length});
  const Dual mixed = attention(heads(query, 0, 1, count), heads(kv, 0, 2, count), heads(kv, 1, 2, count), mask, false);
  const Dual joined = linear_map(mixed, [&](const at::Tensor& t) { return t.reshape({batch, width}); });
  return second_half(weights, config, pick(x) + apply(affine(own, "out_proj"), joined));
}

}  // namespace taskvec::models
