#pragma once

#include "taskvec/edit/executors/execute.h"

namespace taskvec::edit {

struct Applied {
  Summary summary;
  std::string fingerprint;  ///< of the restored checkpoint, from a lossless file; "" for other kinds
};

/// From a lossless file the fine-tuned checkpoint, bit for bit: tensors in their order, metadata, and the files beside them where
/// the output is a folder (in as many shards as it was). From the other kinds base + scale*task_vector, with its provenance.
/// Nothing appears under `output` on an error.
/// @param any_base  apply to a base whose fingerprint is not the recorded one; a lossless file must still give the recorded
/// result
/// @throws Error{InvalidArgument} naming both fingerprints for another base, a scale other than 1 of a lossless file, what is no
/// task vector; Error{Format} as read_lossless() and restore_chunk(), or when the result's fingerprint is not the recorded one
Applied apply(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> task_vector,
              double scale, bool any_base, const std::filesystem::path& output);

}  // namespace taskvec::edit
