#include "taskvec/core/files/paths.h"

#include "taskvec/core/error.h"

#include <cstdlib>
#include <optional>

namespace taskvec {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

}  // namespace

fs::path assets_dir() {
  if (const auto path = from_environment("TASKVEC_ASSETS")) return *path;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  // A build folder lies one to three levels below the source tree; an installed program lies in bin/.
  for (const char* relative : {"../assets", "../../assets", "../../../assets", "../share/taskvec"}) {
    const fs::path candidate = (program / relative).lexically_normal();
    if (fs::is_directory(candidate / "tasks", error)) return candidate;
  }
  fail(ErrorCode::NotFound,
       "no assets folder beside {} (tried ../assets, ../../assets, ../../../assets, ../share/taskvec); "
       "set TASKVEC_ASSETS to the 'assets' folder of the source tree",
       program.string());
}

fs::path data_dir() {
  if (const auto path = from_environment("TASKVEC_DATA")) return *path;
  return assets_dir().parent_path() / ".data";
}

fs::path cache_dir() {
  if (const auto path = from_environment("TASKVEC_CACHE")) return *path;
  if (const auto path = from_environment("XDG_CACHE_HOME")) return *path / "taskvec";
  if (const auto path = from_environment("HOME")) return *path / ".cache" / "taskvec";
  return {};  // a folder that everybody may write to is no place for what is read back
}

}  // namespace taskvec
