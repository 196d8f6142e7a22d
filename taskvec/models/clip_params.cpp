#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "taskvec/models/clip.h"

#include <cmath>

namespace taskvec::models {
namespace {

void add_norm(ParamSpec& spec, const std::string& name, int64_t width, int layer, const char* tower) {
  spec.params.push_back({name + ".weight", {width}, layer, tower});
  spec.params.push_back({name + ".bias", {width}, layer, tower});
}

void add_linear(ParamSpec& spec, const std::string& name, int64_t in, int64_t out, int layer, const char* tower) {
  spec.params.push_back({name + ".weight", {out, in}, layer, tower});
  spec.params.push_back({name + ".bias", {out}, layer, tower});
}

void add_blocks(ParamSpec& spec, const ClipTowerConfig& config, const char* tower) {
  const int64_t width = config.hidden_size;
  for (int i = 0; i < static_cast<int>(config.num_hidden_layers); ++i) {
    const std::string block = std::string(tower) + "_model.encoder.layers." + std::to_string(i);
    for (const char* projection : {"k_proj", "v_proj", "q_proj", "out_proj"}) {
      add_linear(spec, block + ".self_attn." + projection, width, width, i, tower);
    }
    add_norm(spec, block + ".layer_norm1", width, i, tower);
    add_linear(spec, block + ".mlp.fc1", width, config.intermediate_size, i, tower);
    add_linear(spec, block + ".mlp.fc2", config.intermediate_size, width, i, tower);
    add_norm(spec, block + ".layer_norm2", width, i, tower);
  }
}

ParamSpec make_spec(const ClipConfig& c) {
  ParamSpec spec;
  const int64_t patches = (c.image_size / c.patch_size) * (c.image_size / c.patch_size);
  const std::string text = "text_model.", vision = "vision_model.";
  spec.params.push_back({"logit_scale", {}, -1, ""});
  spec.params.push_back({text + "embeddings.token_embedding.weight", {c.vocab_size, c.text.hidden_size}, -1, "text"});
  spec.params.push_back(
      {text + "embeddings.position_embedding.weight", {c.max_position_embeddings, c.text.hidden_size}, -1, "text"});
  add_blocks(spec, c.text, "text");
  add_norm(spec, text + "final_layer_norm", c.text.hidden_size, -1, "text");

  const int64_t width = c.vision.hidden_size;
  const Shape kernel{width, c.num_channels, c.patch_size, c.patch_size};
  spec.params.push_back({vision + "embeddings.class_embedding", {width}, -1, "vision"});
  spec.params.push_back({vision + "embeddings.patch_embedding.weight", kernel, -1, "vision"});
  spec.params.push_back({vision + "embeddings.position_embedding.weight", {patches + 1, width}, -1, "vision"});
  add_norm(spec, vision + "pre_layrnorm", width, -1, "vision");  // spelt so in every checkpoint
  add_blocks(spec, c.vision, "vision");
  add_norm(spec, vision + "post_layernorm", width, -1, "vision");
  spec.params.push_back({"visual_projection.weight", {c.projection_dim, width}, -1, "vision"});
  spec.params.push_back({"text_projection.weight", {c.projection_dim, c.text.hidden_size}, -1, "text"});
  return spec;
}

/// How transformers draws a parameter: normal with this deviation around 0, or a constant where there is none.
struct Initial {
  double deviation = 0, constant = 0;
};

Initial initial(const ParamInfo& param, const ClipConfig& config) {
  const ClipTowerConfig& tower = param.tower == "text" ? config.text : config.vision;
  const auto width = static_cast<double>(tower.hidden_size);
  const double into_residual = 1 / std::sqrt(width * 2 * static_cast<double>(tower.num_hidden_layers));
  const auto has = [&](std::string_view part) { return param.name.find(part) != std::string::npos; };

  if (param.name == "logit_scale") return {0, config.logit_scale_init_value};
  if (has("norm")) return {0, param.name.ends_with(".weight") ? 1.0 : 0.0};
  if (param.name.ends_with(".bias")) return {};
  if (has("class_embedding")) return {1 / std::sqrt(width)};
  if (has("embeddings.")) return {0.02};
  if (has("q_proj") || has("k_proj") || has("v_proj") || has("mlp.fc2")) return {into_residual};
  if (has("mlp.fc1")) return {1 / std::sqrt(2 * width)};
  return {1 / std::sqrt(width)};  // out_proj and the two projections into the shared space
}

}  // namespace

Clip::Clip(ClipConfig config) : config_(config), spec_(make_spec(config)) {}

bool Clip::is_image_encoder(std::string_view name) {
  return (name.starts_with("vision_model.") && !name.ends_with(".position_ids")) || name == "visual_projection.weight";
}

bridge::Params Clip::initialise(uint64_t seed) const {
  bridge::Params params;
  for (const ParamInfo& param : spec_.params) {
    at::Tensor tensor = at::empty(param.shape, at::kFloat);
    const Initial rule = initial(param, config_);
    float* data = tensor.data_ptr<float>();
    const Philox random(seed, param.name);
    constexpr int64_t kChunk = 1 << 16;
    const int64_t n = tensor.numel();
    parallel_for((n + kChunk - 1) / kChunk, [&](int64_t chunk) {
      for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
        const double value = rule.deviation == 0 ? rule.constant : rule.deviation * random.normal(static_cast<uint64_t>(i));
        data[i] = static_cast<float>(value);
      }
    });
    params.add(param.name, tensor);
  }
  return params;
}

}  // namespace taskvec::models
