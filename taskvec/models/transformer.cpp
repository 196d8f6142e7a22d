#include "taskvec/models/transformer.h"

#include <array>

namespace taskvec::models {
namespace {

struct Linear {
  at::Tensor weight, bias;
};

Linear linear(const Weights& weights, std::string_view name) {
  const Weights own = weights.in(name);
  return {own("weight"), own("bias")};
}

at::Tensor apply(const Linear& layer, const at::Tensor& x) { return at::linear(x, layer.weight, layer.bias); }

/// One matrix product instead of several: at CLIP's sizes copying the weights costs less than it saves.
Linear stack(const Weights& weights, std::initializer_list<const char*> names) {
  std::vector<at::Tensor> matrices, biases;
  for (const char* name : names) {
    const Linear layer = linear(weights, name);
    matrices.push_back(layer.weight);
    biases.push_back(layer.bias);
  }
  return {at::cat(matrices), at::cat(biases)};
}

/// [batch, length, parts * width] -> parts of [batch, heads, length, width / heads], views.
std::vector<at::Tensor> heads(const at::Tensor& x, int64_t parts, int64_t count) {
  return x.view({x.size(0), x.size(1), parts, count, -1}).permute({2, 0, 3, 1, 4}).unbind(0);
}

at::Tensor mlp(const Weights& weights, Activation act, const at::Tensor& x) {
  Linear fc1 = linear(weights, "fc1"), fc2 = linear(weights, "fc2");
  switch (act) {
    case Activation::QuickGelu: {
      // h * sigmoid(a h) = silu(a h) / a. Scaling the small weights instead of the large activations leaves one fused pass over
      // these.
      constexpr double kSlope = 1.702;
      fc1 = {fc1.weight * kSlope, fc1.bias * kSlope};
      fc2.weight = fc2.weight * (1 / kSlope);
      return apply(fc2, at::silu(apply(fc1, x)));
    }
    case Activation::Gelu: return apply(fc2, at::gelu(apply(fc1, x)));
    case Activation::GeluTanh: return apply(fc2, at::gelu(apply(fc1, x), "tanh"));
  }
  return {};
}

at::Tensor second_half(const Weights& weights, const ClipTowerConfig& config, const at::Tensor& x) {
  return x + mlp(weights.in("mlp"), config.hidden_act, layer_norm(weights, "layer_norm2", x, config.layer_norm_eps));
}

}  // namespace

at::Tensor layer_norm(const Weights& weights, std::string_view name, const at::Tensor& x, double eps) {
  const Linear affine = linear(weights, name);
  return at::layer_norm(x, {x.size(-1)}, affine.weight, affine.bias, eps);
}

at::Tensor transformer_block(const Weights& weights, const ClipTowerConfig& config, const at::Tensor& x, bool causal) {
  const Weights attention = weights.in("self_attn");
  const at::Tensor normed = layer_norm(weights, "layer_norm1", x, config.layer_norm_eps);
  const at::Tensor qkv = apply(stack(attention, {"q_proj", "k_proj", "v_proj"}), normed);
  const std::vector<at::Tensor> parts = heads(qkv, 3, config.num_attention_heads);
  const at::Tensor mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, causal);
  const at::Tensor joined = mixed.transpose(1, 2).reshape(x.sizes());
  return second_half(weights, config, x + apply(linear(attention, "out_proj"), joined));
}

at::Tensor transformer_block_at(const Weights& weights, const ClipTowerConfig& config, const at::Tensor& x,
                                const at::Tensor& positions, bool causal) {
  const Weights attention = weights.in("self_attn");
  const int64_t batch = x.size(0), length = x.size(1), width = x.size(2);
  const at::Tensor rows = at::arange(batch, positions.options()) * length + positions;
  const auto pick = [&](const at::Tensor& all) { return all.reshape({batch * length, width}).index_select(0, rows); };

  const at::Tensor normed = layer_norm(weights, "layer_norm1", x, config.layer_norm_eps);
  const at::Tensor kv = apply(stack(attention, {"k_proj", "v_proj"}), normed);
  const std::vector<at::Tensor> parts = heads(kv, 2, config.num_attention_heads);
  const at::Tensor query = apply(linear(attention, "q_proj"), pick(normed)).view({batch, 1, width});
  std::optional<at::Tensor> mask;
  if (causal) mask = (at::arange(length, positions.options()) <= positions.unsqueeze(1)).view({batch, 1, 1, length});
  const at::Tensor mixed =
      at::scaled_dot_product_attention(heads(query, 1, config.num_attention_heads)[0], parts[0], parts[1], mask);
  const at::Tensor joined = mixed.reshape({batch, width});
  return second_half(weights, config, pick(x) + apply(linear(attention, "out_proj"), joined));
}

}  // namespace taskvec::models
