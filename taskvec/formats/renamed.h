#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// A checkpoint's tensors under other names, in this order; what is not in the list is not in the result, and one that is there
/// twice is under both names. Bytes stay where they are.
/// @param tensors  new name and the checkpoint's entry
/// @throws Error{Format} where two get one name
std::shared_ptr<const Checkpoint> renamed(std::shared_ptr<const Checkpoint> checkpoint,
                                          const std::vector<std::pair<std::string, const TensorEntry*>>& tensors);

}  // namespace taskvec::formats
