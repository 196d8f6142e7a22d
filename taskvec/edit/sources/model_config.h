#pragma once

#include "taskvec/formats/checkpoint.h"

#include <optional>
#include <string>

namespace taskvec::edit {

/// What a checkpoint's config.json says of the network; empty where there is none, or it says nothing of the kind.
struct ModelConfig {
  std::string model_type;
  std::optional<bool> tied;  ///< transformers' tie_word_embeddings, or its default for the model_type
};

/// Reads the config.json among a checkpoint's sidecars, which may hold anything.
ModelConfig model_config(const formats::Checkpoint& checkpoint);

/// The embedding that a model uses for its output layer, which it does not hold by itself; null where its config ties none, or
/// several tensors could be it.
/// @param head  name and shape of the output layer in another model
const formats::TensorEntry* tied_embedding(const formats::Checkpoint& checkpoint, const formats::TensorEntry& head);

/// Whether a tensor is an output layer, by its name.
bool is_output_layer(std::string_view name);

}  // namespace taskvec::edit
