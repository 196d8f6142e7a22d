#pragma once

#include <filesystem>
#include <vector>

namespace taskvec::formats {

/// Whether a file is weights, of whatever format, or an index of them, by its name.
bool is_weights(const std::filesystem::path& file);

/// What lies in a model's folder beside its weights: config, tokenizer, licence ..., in order of their names. A new model takes
/// them along. Hidden and very large files, and what taskvec writes about its runs, are left out.
/// @throws as inside()
std::vector<std::filesystem::path> sidecars(const std::filesystem::path& folder);

}  // namespace taskvec::formats
