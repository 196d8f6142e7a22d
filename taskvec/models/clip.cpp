#include "taskvec/models/clip.h"

#include "taskvec/core/error.h"
#include "taskvec/models/transformer.h"

namespace taskvec::models {
namespace {

std::string block_name(int64_t index) { return "encoder.layers." + std::to_string(index); }

/// [batch, channels, size, size] -> [batch, patches, channels * patch * patch], in the element order of a convolution kernel.
at::Tensor unfold(const at::Tensor& pixels, int64_t patch) {
  const int64_t grid = pixels.size(2) / patch, used = grid * patch;  // a remainder is left out, as the convolution does
  return pixels.narrow(2, 0, used)
      .narrow(3, 0, used)
      .reshape({pixels.size(0), pixels.size(1), grid, patch, grid, patch})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({pixels.size(0), grid * grid, pixels.size(1) * patch * patch});
}

/// Class token and patches with their positions, after the first layer norm: [batch, patches + 1, width].
Dual embed_image(const Weights& weights, const ClipConfig& config, const at::Tensor& pixels) {
  const Weights embeddings = weights.in("embeddings");
  const int64_t width = config.vision.hidden_size, batch = pixels.size(0);
  const auto flat = [&](const at::Tensor& t) { return t.reshape({width, -1}); };
  const auto from = [](int64_t begin) { return [begin](const at::Tensor& t) { return t.slice(0, begin); }; };
  const auto first_row = [&](const at::Tensor& t) { return t.select(0, 0); };
  const auto repeat = [&](const at::Tensor& t) { return t.expand({batch, 1, width}); };
  const Dual positions = embeddings("position_embedding.weight");
  const Dual patches = linear(unfold(pixels, config.patch_size), linear_map(embeddings("patch_embedding.weight"), flat)) +
                       linear_map(positions, from(1));
  const Dual first = linear_map(embeddings("class_embedding") + linear_map(positions, first_row), repeat);
  return layer_norm(weights, "pre_layrnorm", cat({first, patches}, 1), config.vision.layer_norm_eps);
}

void check_pixels(const at::Tensor& pixels, const ClipConfig& c) {
  if (pixels.dim() == 4 && pixels.size(0) >= 1 && pixels.size(1) == c.num_channels && pixels.size(2) == c.image_size &&
      pixels.size(3) == c.image_size && pixels.is_floating_point()) {
    return;
  }
  fail(ErrorCode::InvalidArgument, "CLIP's image encoder takes float pixels of shape [batch, {}, {}, {}], got {} of {}",
       c.num_channels, c.image_size, c.image_size, to_string(pixels.sizes().vec()), c10::toString(pixels.scalar_type()));
}

void check_ids(const at::Tensor& ids, const ClipConfig& c) {
  if (ids.dim() != 2 || ids.scalar_type() != at::kLong || ids.size(0) < 1 || ids.size(1) < 1 ||
      ids.size(1) > c.max_position_embeddings) {
    fail(ErrorCode::InvalidArgument, "CLIP's text encoder takes int64 ids of shape [batch, 1 to {}], got {} of {}",
         c.max_position_embeddings, to_string(ids.sizes().vec()), c10::toString(ids.scalar_type()));
  }
  const auto [low, high] = at::aminmax(ids);
  if (low.item<int64_t>() < 0 || high.item<int64_t>() >= c.vocab_size) {
    fail(ErrorCode::InvalidArgument,
         "token ids run from {} to {}, but the model's vocabulary has {} entries; is this its tokenizer?", low.item<int64_t>(),
         high.item<int64_t>(), c.vocab_size);
  }
}

}  // namespace

Dual Clip::image_features(const bridge::Params& params, std::span<const bridge::Params> directions,
                          const at::Tensor& pixels) const {
  check_pixels(pixels, config_);
  const Weights all{params, directions, "", pixels.scalar_type()}, vision = all.in("vision_model");
  Dual x = embed_image(vision, config_, pixels);
  const int64_t last = config_.vision.num_hidden_layers - 1;
  const auto block = checkpoint_activations_ ? checkpointed_block : transformer_block;
  for (int64_t i = 0; i < last; ++i) x = block(vision.in(block_name(i)), config_.vision, x, false);
  const at::Tensor class_token = at::zeros({pixels.size(0)}, pixels.options().dtype(at::kLong));
  x = transformer_block_at(vision.in(block_name(last)), config_.vision, x, class_token, false);
  x = layer_norm(vision, "post_layernorm", x, config_.vision.layer_norm_eps);
  return linear(x, all("visual_projection.weight"));
}

Dual Clip::text_features(const bridge::Params& params, std::span<const bridge::Params> directions, const at::Tensor& ids) const {
  check_ids(ids, config_);
  const at::ScalarType given = params.at("text_projection.weight").scalar_type();
  const Weights all{params, directions, "", given == at::kDouble ? at::kDouble : at::kFloat}, text = all.in("text_model");
  const auto gather = [&](const at::Tensor& t) { return at::embedding(t, ids); };
  const auto used = [&](const at::Tensor& t) { return t.narrow(0, 0, ids.size(1)); };
  Dual x = linear_map(text("embeddings.token_embedding.weight"), gather) +
           linear_map(text("embeddings.position_embedding.weight"), used);
  const int64_t last = config_.text.num_hidden_layers - 1;
  for (int64_t i = 0; i < last; ++i) x = transformer_block(text.in(block_name(i)), config_.text, x, true);

  // Configs from before mid-2023 say 2 whatever the tokenizer does; the end of text is the largest id there.
  constexpr int64_t kOldEos = 2;
  const at::Tensor marked = config_.eos_token_id == kOldEos ? ids : (ids == config_.eos_token_id).to(at::kInt);
  x = transformer_block_at(text.in(block_name(last)), config_.text, x, marked.argmax(-1), true);
  x = layer_norm(text, "final_layer_norm", x, config_.text.layer_norm_eps);
  return linear(x, all("text_projection.weight"));
}

std::vector<at::Tensor> Clip::vision_hidden_states(const bridge::Params& params, const at::Tensor& pixels) const {
  check_pixels(pixels, config_);
  const Weights vision{params, {}, "vision_model.", pixels.scalar_type()};
  std::vector<at::Tensor> states{embed_image(vision, config_, pixels).primal};
  for (int64_t i = 0; i < config_.vision.num_hidden_layers; ++i) {
    states.push_back(transformer_block(vision.in(block_name(i)), config_.vision, states.back(), false).primal);
  }
  return states;
}

}  // namespace taskvec::models
