#include "taskvec/core/files/inside.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <cctype>

namespace taskvec {

namespace fs = std::filesystem;

namespace {

/// Whether a link of a folder leads into the blobs of a Hugging Face cache, where every file is a part of a model: of the cache
/// that the folder lies in, at any depth below snapshots/<revision>; or, as huggingface_hub before 0.23 filled a --local-dir, of
/// any, where a blob's name is the hash of what it holds.
bool is_blob_of(const fs::path& home, const fs::path& target) {
  const fs::path blobs = target.parent_path(), repository = blobs.parent_path();
  if (blobs.filename() != "blobs") return false;
  for (fs::path above = home; above.has_relative_path(); above = above.parent_path())
    if (above.filename() == "snapshots") return above.parent_path() == repository;
  const std::string blob = target.filename().string();
  return repository.filename().string().starts_with("models--") &&
         std::ranges::all_of(blob, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

}  // namespace

fs::path inside(const fs::path& folder, const std::string& name) {
  const fs::path file = folder / name;
  std::error_code error;
  if (!fs::is_symlink(file, error)) return file;
  const fs::path target = fs::canonical(file, error);
  if (error) fail(ErrorCode::NotFound, "{} is a symbolic link that leads nowhere: {}", file.string(), error.message());
  const fs::path home = fs::canonical(folder.empty() ? fs::path(".") : folder);
  const bool stays = std::mismatch(home.begin(), home.end(), target.begin(), target.end()).first == home.end();
  if (!stays && !is_blob_of(home, target))
    fail(ErrorCode::Format, "{} is a symbolic link to {}, out of its folder; copy the file into the folder", file.string(),
         target.string());
  return file;
}

}  // namespace taskvec
