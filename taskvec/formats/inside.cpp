#include "taskvec/formats/inside.h"

#include "taskvec/core/error.h"

#include <algorithm>

namespace taskvec::formats {

namespace fs = std::filesystem;

fs::path inside(const fs::path& folder, const std::string& name) {
  const fs::path file = folder / name;
  std::error_code error;
  if (!fs::is_symlink(file, error)) return file;
  const fs::path target = fs::canonical(file, error);
  if (error) fail(ErrorCode::NotFound, "{} is a symbolic link that leads nowhere: {}", file.string(), error.message());
  const fs::path home = fs::canonical(folder.empty() ? fs::path(".") : folder), snapshots = home.parent_path();
  const bool stays = std::mismatch(home.begin(), home.end(), target.begin(), target.end()).first == home.end();
  const bool blob = snapshots.filename() == "snapshots" && target.parent_path() == snapshots.parent_path() / "blobs";
  if (!stays && !blob)
    fail(ErrorCode::Format, "{} is a symbolic link to {}, out of its folder; copy the file into the folder", file.string(),
         target.string());
  return file;
}

}  // namespace taskvec::formats
