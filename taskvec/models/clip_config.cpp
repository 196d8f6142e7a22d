#include "taskvec/core/error.h"
#include "taskvec/models/clip.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace taskvec::models {
namespace {

using Json = nlohmann::json;

/// An object of config.json together with what error messages call it.
struct Section {
  const Json& json;
  std::string where;

  const Json* find(const char* key) const {
    const auto found = json.find(key);
    return found == json.end() || found->is_null() ? nullptr : &*found;
  }

  int64_t integer(const char* key, int64_t otherwise, int64_t low, int64_t high) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    // An unsigned number over 2^63 would wrap in get<int64_t>().
    const bool huge = value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX};
    if (!value->is_number_integer() || huge || value->get<int64_t>() < low || value->get<int64_t>() > high) {
      fail(ErrorCode::Format, "{}: '{}': expected an integer from {} to {}, got {}", where, key, low, high, value->dump());
    }
    return value->get<int64_t>();
  }

  double number(const char* key, double otherwise, double low, double high) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number() || !(value->get<double>() >= low) || !(value->get<double>() <= high)) {
      fail(ErrorCode::Format, "{}: '{}': expected a number from {} to {}, got {}", where, key, low, high, value->dump());
    }
    return value->get<double>();
  }

  std::string text(const char* key, const char* otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) fail(ErrorCode::Format, "{}: '{}': expected a string, got {}", where, key, value->dump());
    return value->get<std::string>();
  }
};

Activation activation(const Section& section) {
  const std::string word = section.text("hidden_act", "quick_gelu");
  if (word == "quick_gelu") return Activation::QuickGelu;
  if (word == "gelu") return Activation::Gelu;
  if (word == "gelu_new" || word == "gelu_pytorch_tanh") return Activation::GeluTanh;
  fail(ErrorCode::Unsupported, "{}: 'hidden_act' is '{}': expected quick_gelu, gelu, gelu_new or gelu_pytorch_tanh",
       section.where, word);
}

const char* word(Activation act) {
  switch (act) {
    case Activation::QuickGelu: return "quick_gelu";
    case Activation::Gelu: return "gelu";
    case Activation::GeluTanh: return "gelu_pytorch_tanh";
  }
  return "";
}

ClipTowerConfig tower(const Section& section, ClipTowerConfig otherwise) {
  ClipTowerConfig result;
  result.hidden_size = section.integer("hidden_size", otherwise.hidden_size, 1, 1 << 16);
  result.intermediate_size = section.integer("intermediate_size", otherwise.intermediate_size, 1, 1 << 18);
  result.num_hidden_layers = section.integer("num_hidden_layers", otherwise.num_hidden_layers, 1, 1024);
  result.num_attention_heads = section.integer("num_attention_heads", otherwise.num_attention_heads, 1, 1 << 12);
  result.layer_norm_eps = section.number("layer_norm_eps", otherwise.layer_norm_eps, 0, 1);
  result.hidden_act = activation(section);
  if (result.hidden_size % result.num_attention_heads != 0) {
    fail(ErrorCode::Format, "{}: 'hidden_size' {} is not a multiple of 'num_attention_heads' {}", section.where,
         result.hidden_size, result.num_attention_heads);
  }
  return result;
}

/// text_config or vision_config. Files from before 2023 repeat it as *_dict, which transformers lets win, defaults and all.
const Json& tower_json(const Json& json, const std::string& key, const std::filesystem::path& path) {
  static const Json kNone = Json::object();
  for (const std::string& name : {key + "_dict", key}) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) continue;
    if (!found->is_object())
      fail(ErrorCode::Format, "{}: '{}': expected an object, got {}", path.string(), name, found->type_name());
    return *found;
  }
  return kNone;
}

Json tower_to_json(const ClipTowerConfig& tower, int64_t projection_dim) {
  return {{"hidden_size", tower.hidden_size},
          {"intermediate_size", tower.intermediate_size},
          {"num_hidden_layers", tower.num_hidden_layers},
          {"num_attention_heads", tower.num_attention_heads},
          {"layer_norm_eps", tower.layer_norm_eps},
          {"hidden_act", word(tower.hidden_act)},
          {"attention_dropout", 0.0},
          {"projection_dim", projection_dim}};
}

}  // namespace

ClipConfig ClipConfig::from_json(const nlohmann::json& json, const std::filesystem::path& path) {
  const Section top{json, path.string()};
  if (!json.is_object()) fail(ErrorCode::Format, "{}: expected a JSON object, got {}", path.string(), json.type_name());
  const std::string type = top.text("model_type", "");
  if (type != "clip") {
    fail(ErrorCode::Unsupported, "{}: 'model_type' is '{}', expected 'clip'; only CLIP models can be evaluated and trained",
         path.string(), type);
  }
  const Section text{tower_json(json, "text_config", path), path.string() + ": text_config"};
  const Section vision{tower_json(json, "vision_config", path), path.string() + ": vision_config"};

  ClipConfig config;
  config.vision =
      tower(vision, {.hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12, .num_attention_heads = 12});
  config.text = tower(text, {.hidden_size = 512, .intermediate_size = 2048, .num_hidden_layers = 12, .num_attention_heads = 8});
  config.image_size = vision.integer("image_size", 224, 1, 1 << 14);
  config.patch_size = vision.integer("patch_size", 32, 1, 1 << 14);
  config.num_channels = vision.integer("num_channels", 3, 1, 1024);
  config.vocab_size = text.integer("vocab_size", 49408, 1, 1 << 24);
  config.max_position_embeddings = text.integer("max_position_embeddings", 77, 1, 1 << 20);
  config.bos_token_id = text.integer("bos_token_id", 49406, 0, 1 << 24);
  config.eos_token_id = text.integer("eos_token_id", 49407, 0, 1 << 24);
  config.pad_token_id = text.integer("pad_token_id", 1, 0, 1 << 24);
  config.projection_dim = top.integer("projection_dim", 512, 1, 1 << 16);
  config.logit_scale_init_value = top.number("logit_scale_init_value", 2.6592, -100, 100);
  if (config.patch_size > config.image_size) {
    fail(ErrorCode::Format, "{}: 'patch_size' {} is larger than 'image_size' {}", vision.where, config.patch_size,
         config.image_size);
  }
  return config;
}

nlohmann::json ClipConfig::to_json() const {
  Json text_config = tower_to_json(text, projection_dim);
  text_config.update({{"model_type", "clip_text_model"},
                      {"vocab_size", vocab_size},
                      {"max_position_embeddings", max_position_embeddings},
                      {"bos_token_id", bos_token_id},
                      {"eos_token_id", eos_token_id},
                      {"pad_token_id", pad_token_id}});
  Json vision_config = tower_to_json(vision, projection_dim);
  vision_config.update({{"model_type", "clip_vision_model"},
                        {"image_size", image_size},
                        {"patch_size", patch_size},
                        {"num_channels", num_channels}});
  return {{"architectures", {"CLIPModel"}},
          {"model_type", "clip"},
          {"dtype", "float32"},
          {"projection_dim", projection_dim},
          {"logit_scale_init_value", logit_scale_init_value},
          {"initializer_factor", 1.0},
          {"text_config", std::move(text_config)},
          {"vision_config", std::move(vision_config)}};
}

}  // namespace taskvec::models
