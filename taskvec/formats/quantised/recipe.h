#pragma once

#include "taskvec/formats/checkpoint.h"

#include <nlohmann/json.hpp>

#include <functional>
#include <optional>

namespace taskvec::formats {

/// How the values of one weight come about from the tensors of a checkpoint that hold its codes.
struct Recipe {
  std::string name;  ///< of the weight
  Shape shape;
  std::string rule;                         ///< e.g. "GPTQ of 4 bits"
  std::vector<const TensorEntry*> parts{};  ///< codes first, then scales and what else belongs to them
  /// Writes elements [first, first + out.size()), row-major. Threads: called from any.
  std::function<void(const Checkpoint& of, uint64_t first, std::span<float> out)> make{};
};

/// A checkpoint whose codes are to be recognised.
struct Codes {
  const Checkpoint& of;
  nlohmann::json config;  ///< the `quantization_config` of its config.json; null without one

  const TensorEntry* find(std::string_view name) const { return of.manifest().find(name); }
  std::string path() const { return of.path().string(); }
};

/// The recipe of the weight whose codes `entry` is, if it is one of this kind. @throws Error{Format} where its parts do not fit
std::optional<Recipe> scaled(const Codes& codes, const TensorEntry& entry);  ///< F8 and I8 with scales
std::optional<Recipe> bitsandbytes_4bit(const Codes& codes, const TensorEntry& entry);
std::optional<Recipe> bitsandbytes_int8(const Codes& codes, const TensorEntry& entry);
std::optional<Recipe> packed_words(const Codes& codes, const TensorEntry& entry);  ///< GPTQ and AWQ

/// Elements [first, first + out.size()) of a float tensor as F32; exponents (F8_E8M0) too.
void read_floats(const Checkpoint& of, const TensorEntry& entry, uint64_t first, std::span<float> out);

/// `name` without a suffix, if it has it.
std::optional<std::string> without(std::string_view name, std::string_view suffix);

}  // namespace taskvec::formats
