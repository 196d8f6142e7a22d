#pragma once

#include <filesystem>
#include <string>

namespace taskvec {

/// folder / name. A folder may come from anybody, and a symbolic link in it could pass any file of this machine off as a part of
/// the model, so links must stay inside; or lead into the blobs of a Hugging Face cache (models--x/snapshots/y/... ->
/// models--x/blobs, or models--*/blobs from a --local-dir), where every file is one.
/// @throws Error{Format} for a link that leads elsewhere, Error{NotFound} for one that leads nowhere
std::filesystem::path inside(const std::filesystem::path& folder, const std::string& name);

/// Whether there is such an entry; a link also when it leads nowhere, so that inside() can say so.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

}  // namespace taskvec
