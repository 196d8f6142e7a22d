#include "taskvec/formats/config_update.h"

#include "taskvec/core/bounded_json.h"

namespace taskvec::formats {
namespace {

using Json = nlohmann::ordered_json;

/// torch's word, which config.json uses.
std::string word(Dtype dtype) {
  switch (dtype) {
    case Dtype::F64: return "float64";
    case Dtype::F16: return "float16";
    case Dtype::BF16: return "bfloat16";
    case Dtype::F8_E4M3: return "float8_e4m3fn";
    case Dtype::F8_E5M2: return "float8_e5m2";
    default: return "float32";
  }
}

void update(Json& config, const WrittenWeights& weights, bool top) {
  for (const char* key : {"dtype", "torch_dtype"})
    if (weights.dtype && config.contains(key) && (config[key].is_string() || config[key].is_null()))
      config[key] = word(*weights.dtype);
  if (weights.untied && (top || config.contains("tie_word_embeddings"))) config["tie_word_embeddings"] = false;
  if (weights.vocabulary && config.contains("vocab_size") && config["vocab_size"].is_number_integer())
    config["vocab_size"] = *weights.vocabulary;
  if (weights.plain)
    for (const char* key : {"quantization_config", "compression_config"}) config.erase(key);
  for (auto& [key, part] : config.items())
    if (key.ends_with("_config") && part.is_object()) update(part, weights, /*top=*/false);
}

}  // namespace

std::string updated_config(std::string text, const WrittenWeights& weights) {
  const auto config = parse_bounded_json<Json>(text);
  if (!config.is_object()) return text;
  Json updated = config;
  update(updated, weights, /*top=*/true);
  return updated == config ? text : updated.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace taskvec::formats
