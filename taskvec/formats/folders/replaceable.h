#pragma once

#include "taskvec/formats/checkpoint.h"

#include <span>

namespace taskvec::formats {

/// An output must not lose what it is made of.
/// @param name  of the source, for the message
/// @throws Error{InvalidArgument} where `output` is a file or the folder of `source`, a folder that the source lies in, or a path
/// inside of the source's folder; links are followed
void check_not_a_source(const std::filesystem::path& output, const Checkpoint& source, const std::string& name);

/// Entries of a folder that no checkpoint folder of taskvec's consists of: sub-folders, hidden entries, links, files of other
/// names, and weights whose metadata do not say that taskvec wrote them. Empty for a folder that taskvec may replace.
std::vector<std::string> foreign_entries(const std::filesystem::path& folder);

/// Whether an output may be written. Nothing is there: yes. With `force`, also over a checkpoint that taskvec wrote, which its
/// content must prove: provenance in the metadata of a .safetensors, .gguf or .npz. A .npy has none and is never replaced.
/// @throws Error{InvalidArgument} saying what is in the way
void check_replaceable(const std::filesystem::path& output, bool force);

}  // namespace taskvec::formats
