#pragma once

#include "taskvec/formats/checkpoint.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::edit {

/// What becomes of embeddings and output layers whose numbers of rows differ between sources: added or padded tokens.
enum class Vocabulary {
  Same,    ///< an error
  Common,  ///< the rows that all sources have
  Base,    ///< the base's rows; those that a source lacks stay the base's
  Pad      ///< the rows of the largest; those that a source lacks stay the largest's
};

/// "common", "base" or "pad". @throws Error{InvalidArgument}
Vocabulary parse_vocabulary(std::string_view text);
std::string_view name(Vocabulary vocabulary);

/// Whether a tensor has a row for each token, by its name.
bool is_vocabulary(std::string_view tensor);

/// The checkpoint with another number of rows in one tensor: cut off, or filled up with those of another checkpoint.
/// @param rows  at most those of `filler`'s tensor, if more than its own
std::shared_ptr<const formats::Checkpoint> with_rows(std::shared_ptr<const formats::Checkpoint> checkpoint,
                                                     const std::string& tensor, int64_t rows,
                                                     std::shared_ptr<const formats::Checkpoint> filler);

/// Brings the vocabulary of all sources to one size. Leaves alone what differs in more than the number of rows.
/// @return  what was done, in words
std::vector<std::string> match_vocabulary(std::vector<std::shared_ptr<const formats::Checkpoint>>& sources, size_t base,
                                          Vocabulary vocabulary);

}  // namespace taskvec::edit
