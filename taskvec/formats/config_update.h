#pragma once

#include "taskvec/core/dtype.h"

#include <optional>
#include <string>
#include <string_view>

namespace taskvec::formats {

/// What config.json has to say of weights that were written, where it says something of the kind.
struct WrittenWeights {
  std::optional<Dtype> dtype;         ///< that most of the float elements have
  std::optional<int64_t> vocabulary;  ///< rows of the embedding, where their number was changed
  bool untied = false;                ///< the output layer is no longer the embedding
  bool plain = false;                 ///< no tensor holds codes that others scale
};

/// A config.json that describes these weights, so that transformers loads the values that the file holds: `dtype` or
/// `torch_dtype`, `tie_word_embeddings`, `vocab_size`, no `quantization_config` on plain floats; also in the configs of parts
/// (text_config, vision_config, ...). Everything else stays as it is, and so does a text that is no JSON object or says all
/// this already.
std::string updated_config(std::string text, const WrittenWeights& weights);

}  // namespace taskvec::formats
