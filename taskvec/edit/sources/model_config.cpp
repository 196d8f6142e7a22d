#include "taskvec/edit/sources/model_config.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"

#include <algorithm>
#include <array>

namespace taskvec::edit {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

/// Models that transformers ties where config.json does not say.
constexpr std::array<std::string_view, 16> kTiedByDefault{"gpt2", "gemma",   "gemma2",  "gemma3_text", "opt",        "bloom",
                                                          "bert", "roberta", "electra", "albert",      "distilbert", "t5",
                                                          "mt5",  "bart",    "gpt_neo", "cohere"};

nlohmann::json read_config(const formats::Checkpoint& checkpoint) {
  for (const auto& file : checkpoint.manifest().sidecars) {
    if (file.filename() != "config.json") continue;
    try {
      return parse_bounded_json(read_file(file, kMaxConfigBytes));
    } catch (const Error&) {
      break;  // a hint, not a condition: whoever needs the file says what is wrong with it
    }
  }
  return nlohmann::json(nlohmann::json::value_t::discarded);
}

}  // namespace

ModelConfig model_config(const formats::Checkpoint& checkpoint) {
  ModelConfig config;
  const nlohmann::json json = read_config(checkpoint);
  if (!json.is_object()) return config;
  if (const auto type = json.find("model_type"); type != json.end() && type->is_string())
    config.model_type = type->get<std::string>();
  const auto tied = [](const nlohmann::json& object) -> std::optional<bool> {
    if (!object.is_object()) return std::nullopt;
    const auto found = object.find("tie_word_embeddings");
    return found != object.end() && found->is_boolean() ? std::optional(found->get<bool>()) : std::nullopt;
  };
  config.tied = tied(json);
  if (const auto text = json.find("text_config"); !config.tied && text != json.end()) config.tied = tied(*text);
  if (!config.tied && std::find(kTiedByDefault.begin(), kTiedByDefault.end(), config.model_type) != kTiedByDefault.end())
    config.tied = true;
  return config;
}

bool is_output_layer(std::string_view name) {
  return name == "lm_head.weight" || name.ends_with(".lm_head.weight") || name.ends_with("embed_out.weight") ||
         name.ends_with("cls.predictions.decoder.weight") || name.ends_with("lm_head.decoder.weight");
}

const formats::TensorEntry* tied_embedding(const formats::Checkpoint& checkpoint, const formats::TensorEntry& head) {
  if (!is_output_layer(head.name) || checkpoint.manifest().find(head.name) != nullptr ||
      !model_config(checkpoint).tied.value_or(false))
    return nullptr;
  const formats::TensorEntry* found = nullptr;
  for (const auto& entry : checkpoint.manifest().tensors) {
    const std::string_view name = entry.name;
    const bool is_embedding = name.ends_with("embed_tokens.weight") || name.ends_with("wte.weight") || name == "shared.weight" ||
                              name.ends_with(".shared.weight") || name.ends_with("word_embeddings.weight") ||
                              name.ends_with("tok_embeddings.weight") || name.ends_with("embed_in.weight");
    if (!is_embedding || entry.info.shape.size() != 2 || entry.info.shape.back() != head.info.shape.back()) continue;
    if (found != nullptr) return nullptr;
    found = &entry;
  }
  return found;
}

}  // namespace taskvec::edit
