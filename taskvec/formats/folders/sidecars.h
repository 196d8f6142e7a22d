#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace taskvec::formats {

/// Whether a file is weights, of whatever format, or an index of them, by its name.
bool is_weights(const std::filesystem::path& file);

/// What a new model in a folder of its own should not be silent about, in words: sub-folders of this one that it does not take
/// along, a model card that describes the old weights, the lack of a config.json.
std::vector<std::string> left_behind(const std::filesystem::path& model);

/// What lies in a model's folder beside its weights: config, tokenizer, licence ..., in order of their names. A new model takes
/// them along. Hidden and very large files, and what taskvec writes about its runs, are left out.
/// @throws as inside()
std::vector<std::filesystem::path> sidecars(const std::filesystem::path& folder);

}  // namespace taskvec::formats
