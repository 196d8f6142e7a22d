#include "taskvec/formats/folders/replaceable.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/formats/folders/sidecars.h"
#include "taskvec/formats/writer.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOwnKeys = "taskvec.";
constexpr size_t kEntriesShown = 5;

/// Whether `path` is `folder` or lies in it; both canonical.
bool within(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

bool is_own_checkpoint(const fs::path& file) {
  try {
    const auto checkpoint = open(file);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.lower_bound(std::string(kOwnKeys));
    return found != metadata.end() && found->first.starts_with(kOwnKeys);
  } catch (const Error&) {
    return false;  // whatever it is, it is not ours
  }
}

/// Whether a checkpoint folder of taskvec's may hold a file of that name beside its weights: what is taken along from a base.
bool is_sidecar_name(const fs::path& file) {
  static constexpr std::array kExtensions{".json", ".txt", ".model", ".md", ".tiktoken", ".jinja", ".spm", ".vocab"};
  static constexpr std::array kNames{"LICENSE", "NOTICE", "USE_POLICY"};
  const std::string stem = file.stem().string();
  return std::ranges::find(kExtensions, file.extension()) != kExtensions.end() ||
         std::ranges::any_of(kNames, [&](const char* name) { return stem.starts_with(name); });
}

/// Whether a file is the index of a checkpoint's shards: it names nothing that is not a shard's name.
bool is_index(const fs::path& file) {
  try {
    const auto json = parse_bounded_json(read_file(file));
    const auto map = json.is_object() ? json.find("weight_map") : json.end();
    return json.is_object() && map != json.end() && map->is_object() &&
           std::ranges::all_of(*map, [](const auto& shard) { return shard.is_string(); });
  } catch (const Error&) {
    return false;
  }
}

bool is_model_name(const std::string& name) {
  return name == "model.safetensors" || name == "adapter_model.safetensors" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

}  // namespace

void check_not_a_source(const fs::path& output, const Checkpoint& source, const std::string& name) {
  const auto refuse = [&](const char* what) {
    fail(ErrorCode::InvalidArgument, "output {} would replace source '{}': it {}; write to another path", output.string(), name,
         what);
  };
  std::error_code error;
  const fs::path target = fs::weakly_canonical(fs::absolute(output), error);
  std::vector<fs::path> inputs = source.manifest().files;
  inputs.push_back(source.path());
  inputs.insert(inputs.end(), source.manifest().sidecars.begin(), source.manifest().sidecars.end());
  for (const fs::path& input : inputs) {
    for (const fs::path& place : {fs::canonical(input, error), fs::weakly_canonical(fs::absolute(input), error)}) {
      if (place.empty()) continue;
      if (place == target || fs::equivalent(place, target, error)) refuse("is one of its files or its folder");
      if (within(place, target)) refuse("is a folder that the source lies in");
    }
  }
  if (fs::is_directory(source.path(), error) && within(target, fs::canonical(source.path(), error)))
    refuse("lies in the source's folder");
}

/// What the weights in a folder say was written beside them: name -> fingerprint; nothing where they do not say.
std::optional<std::map<std::string, std::string>> written_files(const fs::path& folder) {
  try {
    const auto checkpoint = open(folder);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.find(kFilesKey);
    if (found == metadata.end()) return std::nullopt;
    const auto json = parse_bounded_json(found->second);
    std::map<std::string, std::string> files;
    if (json.is_object())
      for (const auto& [name, value] : json.items())
        if (value.is_string()) files[name] = value.get<std::string>();
    return files;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<std::string> foreign_entries(const fs::path& folder) {
  std::vector<std::string> foreign;
  const auto written = written_files(folder);
  const auto is_written = [&](const fs::path& file) {
    if (!written) return is_sidecar_name(file);  // of an earlier version
    const auto found = written->find(file.filename().string());
    return found != written->end() && fingerprint(read_file(file)) == found->second;
  };
  bool weights = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::error_code error;
    const bool regular = entry.symlink_status(error).type() == fs::file_type::regular && name.front() != '.';
    const bool model = regular && is_model_name(name) && is_own_checkpoint(entry.path());
    weights |= model;
    // run.json and logs belong to a run, which `finetune` alone replaces.
    const bool own = model || (regular && name == "model.safetensors.index.json" && is_index(entry.path())) ||
                     (regular && name != "run.json" && !is_weights(entry.path()) && is_written(entry.path()));
    if (!own) foreign.push_back(name);
  }
  std::sort(foreign.begin(), foreign.end());
  if (foreign.empty() && !weights && !fs::is_empty(folder)) foreign.emplace_back("no model.safetensors that taskvec wrote");
  return foreign;
}

void check_replaceable(const fs::path& output, bool force) {
  std::error_code error;
  const fs::path path = output.has_filename() ? output : output.parent_path();
  const auto there = fs::symlink_status(path, error);
  if (there.type() == fs::file_type::not_found) return;
  if (there.type() != fs::file_type::regular && there.type() != fs::file_type::directory)
    fail(ErrorCode::InvalidArgument, "output {} is {}; choose another path", path.string(),
         there.type() == fs::file_type::symlink ? "a symbolic link" : "neither a file nor a folder");
  if (!force) fail(ErrorCode::InvalidArgument, "{} is there already; --force replaces it", output.string());
  if (there.type() == fs::file_type::regular) {
    if (!is_own_checkpoint(path))
      fail(ErrorCode::InvalidArgument, "{} {}, and --force replaces no other file; delete it yourself or choose another path",
           path.string(),
           path.extension() == ".npy" ? "is an array, which cannot say that taskvec wrote it"
                                      : "is no checkpoint that taskvec wrote");
    return;
  }
  const auto foreign = foreign_entries(path);
  if (foreign.empty()) return;
  std::string list;
  for (size_t i = 0; i < foreign.size() && i < kEntriesShown; ++i) list += fmt::format("{}{}", i ? ", " : "", foreign[i]);
  if (foreign.size() > kEntriesShown) list += fmt::format(" and {} more", foreign.size() - kEntriesShown);
  fail(ErrorCode::InvalidArgument,
       "{} is not only a checkpoint that taskvec wrote, and --force replaces nothing else; it holds: {}; choose another path",
       path.string(), list);
}

}  // namespace taskvec::formats
