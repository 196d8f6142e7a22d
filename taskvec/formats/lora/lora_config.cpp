#include "taskvec/formats/lora/lora_config.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace taskvec::formats {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

struct Refusal {
  std::string_view key, why;
};

/// Options that make an adapter something else than s*B*A on top of the base's weights.
constexpr std::array kRefusals{
    Refusal{"use_dora", "DoRA rescales the base's columns, so its change depends on the base; merge it with PEFT first"},
    Refusal{"modules_to_save",
            "whole modules are replaced, which is no change that could be scaled, added or taken away; merge "
            "the adapter with PEFT and use 'merged - base' instead"},
    Refusal{"trainable_token_indices",
            "rows of the embedding are replaced, which is no change that could be scaled; merge it "
            "with PEFT first"},
    Refusal{"layer_replication", "layers of the base are repeated; merge it with PEFT first"},
    Refusal{"lora_bias", "biases were trained too; merge it with PEFT first"},
    Refusal{"target_parameters", "parameters other than a module's weight are changed; merge it with PEFT first"},
    Refusal{"alora_invocation_tokens", "it acts on some tokens only, so it is no change of the weights"},
    Refusal{"use_qalora", "QA-LoRA pools the inputs of A"},
    Refusal{"ensure_weight_tying", "the same change belongs to several tensors; merge it with PEFT first"},
};

/// Options that say how an adapter was made or where it goes, whatever their value.
constexpr std::array kHarmless{"alpha_pattern",
                               "auto_mapping",
                               "base_model_name_or_path",
                               "bias",
                               "corda_config",
                               "eva_config",
                               "exclude_modules",
                               "fan_in_fan_out",
                               "inference_mode",
                               "init_lora_weights",
                               "layers_pattern",
                               "layers_to_transform",
                               "loftq_config",
                               "lora_alpha",
                               "lora_dropout",
                               "lora_ga_config",
                               "megatron_config",
                               "megatron_core",
                               "peft_type",
                               "peft_version",
                               "qalora_group_size",
                               "r",
                               "rank_pattern",
                               "revision",
                               "runtime_config",
                               "target_modules",
                               "task_type",
                               "use_rslora",
                               "velora_config"};

/// Initialisations that leave the base as it was. The others (pissa, olora, corda, lora_ga, loftq) move a part of the base into
/// the adapter, which then is no change of the base that the config names.
constexpr std::array kInitialisations{"gaussian", "eva", "orthogonal", "mica"};

bool is_set(const Json& value) {
  return !(value.is_null() || value == false || ((value.is_array() || value.is_object() || value.is_string()) && value.empty()) ||
           value == "");
}

class Reader {
 public:
  Reader(const std::filesystem::path& path, const Json& json) : path_(path.string()), json_(json) {}

  LoraConfig read() const {
    check_supported();
    LoraConfig config;
    config.rank = rank(json_.value("r", Json(8)), "r");
    config.alpha = alpha(json_.value("lora_alpha", Json(8)), "lora_alpha");
    config.rslora = flag("use_rslora");
    config.fan_in_fan_out = flag("fan_in_fan_out");
    read_pattern("rank_pattern", [&](ModulePattern pattern, const Json& value, const std::string& key) {
      config.ranks.emplace_back(std::move(pattern), rank(value, key));
    });
    read_pattern("alpha_pattern", [&](ModulePattern pattern, const Json& value, const std::string& key) {
      config.alphas.emplace_back(std::move(pattern), alpha(value, key));
    });
    return config;
  }

 private:
  void check_supported() const {
    const Json type = json_.value("peft_type", Json());
    if (type != "LORA")
      fail(ErrorCode::Unsupported, "{}: peft_type is {}; taskvec reads LORA adapters", path_,
           type.is_null() ? "missing" : type.dump());
    if (const Json bias = json_.value("bias", Json("none")); bias != "none")
      fail(ErrorCode::Unsupported,
           "{}: bias is {}: biases were trained too, and their change is not in the adapter; expected \"none\"", path_,
           bias.dump());
    const Json init = json_.value("init_lora_weights", Json(true));
    const auto known = [&](const char* name) { return init == name; };
    if (init.is_string() && std::none_of(kInitialisations.begin(), kInitialisations.end(), known))
      fail(ErrorCode::Unsupported,
           "{}: init_lora_weights is {}: it moves a part of the base into the adapter; save it with PEFT's "
           "path_initial_model_for_weight_conversion to get a change of the base",
           path_, init.dump());
    for (const auto& [key, value] : json_.items()) {
      if (!is_set(value)) continue;
      for (const auto& refusal : kRefusals)
        if (key == refusal.key) fail(ErrorCode::Unsupported, "{}: {} is {}: {}", path_, key, value.dump(), refusal.why);
      if (std::find(kHarmless.begin(), kHarmless.end(), key) == kHarmless.end())
        fail(ErrorCode::Unsupported, "{}: option '{}' is set, and taskvec does not know what it does to the weights", path_, key);
    }
  }

  bool flag(const char* key) const {
    const Json value = json_.value(key, Json(false));
    if (!value.is_boolean() && !value.is_null()) fail(ErrorCode::Format, "{}: {} must be true or false", path_, key);
    return value == true;
  }

  int64_t rank(const Json& value, std::string_view key) const {
    if (!value.is_number_integer() || value <= 0 || value > INT32_MAX)
      fail(ErrorCode::Format, "{}: {} is {}; expected a whole number from 1", path_, key, value.dump());
    return value.get<int64_t>();
  }

  double alpha(const Json& value, std::string_view key) const {
    if (!value.is_number() || !std::isfinite(value.get<double>()))
      fail(ErrorCode::Format, "{}: {} is {}; expected a finite number", path_, key, value.dump());
    return value.get<double>();
  }

  template <typename Add>
  void read_pattern(const char* key, const Add& add) const {
    const Json patterns = json_.value(key, Json::object());
    if (patterns.is_null()) return;
    if (!patterns.is_object()) fail(ErrorCode::Format, "{}: {} must map names of modules to numbers", path_, key);
    for (const auto& [pattern, value] : patterns.items())
      add(ModulePattern(pattern, path_ + ": " + key), value, fmt::format("{} of '{}'", key, pattern));
  }

  std::string path_;
  const Json& json_;
};

template <typename Value>
Value first_match(const std::vector<std::pair<ModulePattern, Value>>& patterns, std::string_view module, Value otherwise) {
  for (const auto& [pattern, value] : patterns)
    if (pattern.matches(module)) return value;
  return otherwise;
}

}  // namespace

int64_t LoraConfig::rank_of(std::string_view module) const { return first_match(ranks, module, rank); }

double LoraConfig::scale_of(std::string_view module) const {
  const auto r = static_cast<double>(rank_of(module));
  return first_match(alphas, module, alpha) / (rslora ? std::sqrt(r) : r);
}

nlohmann::ordered_json read_adapter_json(const std::filesystem::path& path) {
  Json json = parse_bounded_json<Json>(read_file(path, kMaxConfigBytes));
  if (!json.is_object())
    fail(ErrorCode::Format, "{} is not a JSON object, or is nested more than {} levels deep", path.string(), kMaxJsonDepth);
  return json;
}

LoraConfig read_lora_config(const std::filesystem::path& path) { return Reader(path, read_adapter_json(path)).read(); }

}  // namespace taskvec::formats
