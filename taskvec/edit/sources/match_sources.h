#pragma once

#include "taskvec/edit/sources/vocabulary.h"

namespace taskvec::edit {

/// Sources that were brought together: under the base's names and shapes.
struct Matched {
  std::vector<std::shared_ptr<const formats::Checkpoint>> sources;
  std::vector<std::string> notes;     ///< what was done
  std::vector<std::string> warnings;  ///< what people should look at
  bool unties = false;                ///< the base's output layer is the embedding, and that of another source is not
};

/// Does what is unambiguous: prefixes of all names (align.h), output layers that a config ties to the embedding, and, where asked
/// for, the number of tokens.
/// @param names  how messages call the sources
/// @throws Error{InvalidArgument} naming both where a model shares no tensor with the base, or is of another architecture
///         (model_type in config.json) and shares only some
Matched match_sources(std::vector<std::shared_ptr<const formats::Checkpoint>> sources, const std::vector<std::string>& names,
                      size_t base, Vocabulary vocabulary);

}  // namespace taskvec::edit
