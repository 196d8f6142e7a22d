#pragma once

#include "taskvec/edit/plan.h"

namespace taskvec::edit {

/// What the metadata of a written checkpoint says of how it was made: taskvec.expression, taskvec.coefficients, taskvec.sources
/// (name, path, fingerprint), taskvec.version, taskvec.base. Reads every source once for its fingerprint.
std::map<std::string, std::string> provenance(const Plan& plan);

/// Replays the edit that made a checkpoint, from its metadata, and compares bytes in constant memory.
/// @param overrides  sources that have moved: name -> checkpoint
/// @return           names of the tensors that come out differently; empty when the checkpoint is reproduced
/// @throws Error{Format} when the checkpoint does not say how it was made, Error{NotFound} for a source that is gone,
/// Error{InvalidArgument} for one whose fingerprint is another
std::vector<std::string> reproduce(const formats::Checkpoint& checkpoint, const Bindings& overrides);

}  // namespace taskvec::edit
