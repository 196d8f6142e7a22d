#pragma once

#include "taskvec/formats/lora/module_pattern.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace taskvec::formats {

/// What PEFT's adapter_config.json says of the dense form of a LoRA adapter.
struct LoraConfig {
  int64_t rank = 0;
  double alpha = 0;
  bool rslora = false;                                   ///< the scale is alpha/sqrt(rank) rather than alpha/rank
  bool fan_in_fan_out = false;                           ///< the base keeps its matrices as [in, out], as GPT-2's Conv1D does
  std::vector<std::pair<ModulePattern, int64_t>> ranks;  ///< rank_pattern, in the file's order: the first match counts
  std::vector<std::pair<ModulePattern, double>> alphas;  ///< alpha_pattern, likewise

  int64_t rank_of(std::string_view module) const;
  double scale_of(std::string_view module) const;
};

/// @throws Error{Format | Unsupported} naming the file and the key: whatever makes an adapter more than s*B*A (DoRA, biases,
/// replaced modules, ...) is refused, and so is any option that is set and that taskvec does not know.
/// Source: peft 0.21, tuners/lora/config.py; get_pattern_key() in utils/other.py.
LoraConfig read_lora_config(const std::filesystem::path& path);

/// The file as JSON with its keys in order; bounded in size and depth.
nlohmann::ordered_json read_adapter_json(const std::filesystem::path& path);

}  // namespace taskvec::formats
