#include "taskvec/formats/folders/find_model.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/formats/folders/sidecars.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <vector>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxRefBytes = 256;  // a commit

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string given = variable(name); !given.empty()) return given;
  if (const std::string home = variable("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / "huggingface" / "hub";
  return fs::path(variable("HOME")) / ".cache" / "huggingface" / "hub";
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

/// Letters, digits, - _ . only: nothing that could lead out of the cache.
bool is_word(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && text.size() <= 96 &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

/// The snapshot of a revision in models--org--name; empty where there is none. Branches and tags are files with a commit in
/// them; a commit may be shortened.
fs::path snapshot(const fs::path& repository, const std::string& revision) {
  std::error_code error;
  std::string commit = revision;
  if (const fs::path ref = repository / "refs" / revision; fs::is_regular_file(ref, error)) {
    commit = read_file(ref, kMaxRefBytes);
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
  }
  if (!is_word(commit)) return {};
  if (const fs::path exact = repository / "snapshots" / commit; is_folder(exact)) return exact;
  std::vector<fs::path> begin_so;
  if (commit.size() >= 7)
    for (const auto& entry : fs::directory_iterator(repository / "snapshots", error))
      if (entry.path().filename().string().starts_with(commit)) begin_so.push_back(entry.path());
  return begin_so.size() == 1 ? begin_so.front() : fs::path();
}

/// That of the main branch, else the only one.
fs::path main_snapshot(const fs::path& repository) {
  if (const fs::path found = snapshot(repository, "main"); !found.empty()) return found;
  std::vector<fs::path> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", error)) all.push_back(entry.path());
  return all.size() == 1 ? all.front() : fs::path();
}

/// Whether a path is the cache's own folder of a repository, models--org--name.
bool is_cached_repository(const fs::path& path) {
  const fs::path named = path.has_filename() ? path : path.parent_path();
  return named.filename().string().starts_with("models--") && is_folder(path / "snapshots");
}

}  // namespace

fs::path find_model(const std::string& name) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(name, error))) {
    if (!is_cached_repository(name)) return name;
    const fs::path found = main_snapshot(name);
    if (found.empty())
      fail(ErrorCode::NotFound, "{} is a folder of the Hugging Face cache without a snapshot of 'main'; name one of {}/snapshots",
           name, name);
    return found;
  }
  if (is_word(name)) {
    const fs::path built_in = [&]() -> fs::path {
      try {
        return assets_dir() / name;
      } catch (const Error&) {
        return {};  // an installation without its assets can still edit
      }
    }();
    if (!built_in.empty() && fs::is_regular_file(built_in / "config.json", error)) return built_in;
    std::vector<std::string> known;
    for (const auto& entry : fs::directory_iterator(built_in.parent_path(), error))
      if (fs::is_regular_file(entry.path() / "config.json", error)) known.push_back(entry.path().filename().string());
    std::ranges::sort(known);
    if (const std::string meant = did_you_mean(name, known); !meant.empty())
      fail(ErrorCode::NotFound, "{}: no such file or folder{}", name, meant);
  }
  const size_t at = name.find('@'), slash = name.find('/');
  const std::string id = name.substr(0, at), revision = at == std::string::npos ? "main" : name.substr(at + 1);
  // An id is org/name; more slashes are a path, and so is what ends as files do.
  const bool is_id = !is_weights(name) && slash != std::string::npos && slash < id.size() && is_word(id.substr(0, slash)) &&
                     is_word(id.substr(slash + 1)) && is_word(revision) && !is_folder(id.substr(0, slash));
  if (!is_id) return name;  // opening it says that it is not there
  const fs::path repository = hub_cache() / ("models--" + id.substr(0, slash) + "--" + id.substr(slash + 1));
  const fs::path found = at == std::string::npos ? main_snapshot(repository) : snapshot(repository, revision);
  if (!found.empty()) return found;
  fail(ErrorCode::NotFound,
       "{}: no such file or folder, and the Hugging Face cache ({}) does not hold it{}; `hf download {}{}` fetches it", name,
       hub_cache().string(), is_folder(repository) ? " in this revision" : "", id,
       at == std::string::npos ? "" : " --revision " + revision);
}

}  // namespace taskvec::formats
