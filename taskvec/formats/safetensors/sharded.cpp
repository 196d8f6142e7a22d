#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/safetensors/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <set>

namespace taskvec::formats {

namespace fs = std::filesystem;

// An index cannot reach outside of its folder.
std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  simdjson::dom::parser parser;
  simdjson::dom::element json;
  const std::string contents = read_file(index, kMaxHeaderBytes);
  check_download(index, contents);
  if (const auto error = parser.parse(contents).get(json))
    fail(ErrorCode::Format, "{} is not valid JSON: {}", index.string(), simdjson::error_message(error));
  simdjson::dom::object weight_map;
  if (json["weight_map"].get(weight_map))
    fail(ErrorCode::Format, "{} has no 'weight_map' from tensor names to files", index.string());
  std::map<std::string, std::string> map;
  for (const auto [name, file] : weight_map) {
    std::string_view text;
    if (file.get(text)) fail(ErrorCode::Format, "{}: tensor '{}' has no file name", index.string(), name);
    const fs::path shard(text);
    if (text.empty() || text == "." || text == ".." || shard.is_absolute() || shard.filename() != shard ||
        text.find('\0') != text.npos)
      fail(ErrorCode::Format, "{}: shard '{}' is not the name of a file in the same folder", index.string(), text);
    if (!map.emplace(name, text).second) fail(ErrorCode::Format, "{}: tensor '{}' is there twice", index.string(), name);
  }
  if (map.empty()) fail(ErrorCode::Format, "{}: the weight_map names no tensors", index.string());
  return map;
}

std::shared_ptr<const Checkpoint> open_safetensors(const fs::path& path, std::shared_ptr<const MappedFile> file,
                                                   std::vector<fs::path> sidecars) {
  auto header = read_safetensors_header(*file);
  Manifest manifest;
  manifest.format = "safetensors";
  manifest.tensors = std::move(header.tensors);
  manifest.metadata = std::move(header.metadata);
  manifest.files = {file->path()};
  manifest.sidecars = std::move(sidecars);
  if (manifest.metadata.contains(kDeltaKey)) return open_delta(path, std::move(manifest), std::move(file));
  return std::make_shared<Checkpoint>(path, std::move(manifest), std::vector{std::move(file)});
}

std::shared_ptr<const Checkpoint> open_sharded(const fs::path& path, const fs::path& index, std::vector<fs::path> sidecars) {
  return open_sharded(path, index, std::move(sidecars),
                      [](ErrorCode code, const std::string& problem) { fail(code, "{}", problem); });
}

std::shared_ptr<const Checkpoint> open_sharded(const fs::path& path, const fs::path& index, std::vector<fs::path> sidecars,
                                               const ProblemReport& report) {
  const auto weight_map = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);

  Manifest manifest;
  manifest.format = "sharded safetensors";
  manifest.sidecars = std::move(sidecars);
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::set<std::string> seen;
  const auto problem = [&]<typename... Args>(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    report(code, fmt::format(format, std::forward<Args>(args)...));
  };
  for (const auto& shard : shards) {
    const fs::path shard_path = index.parent_path() / shard;
    if (!is_there(shard_path)) {
      problem(ErrorCode::NotFound, "{} names shard '{}', but there is no such file", index.string(), shard);
      continue;
    }
    SafetensorsHeader header;
    std::shared_ptr<const MappedFile> file;
    try {
      file = MappedFile::open(inside(index.parent_path(), shard));
      check_download(file->path(), file->bytes());
      header = read_safetensors_header(*file);
    } catch (const Error& broken) {
      report(broken.code(), broken.what());
      continue;
    }
    if (files.empty()) manifest.metadata = std::move(header.metadata);
    for (auto& tensor : header.tensors) {
      const auto listed = weight_map.find(tensor.name);
      if (listed == weight_map.end()) {
        problem(ErrorCode::Format, "{} holds tensor '{}', which {} does not list", shard_path.string(), tensor.name,
                index.string());
        continue;
      }
      if (!seen.insert(tensor.name).second) {
        problem(ErrorCode::Format, "tensor '{}' is in two shards: {} and another", tensor.name, shard_path.string());
        continue;
      }
      if (listed->second != shard)
        problem(ErrorCode::Format, "{} says that tensor '{}' is in '{}', but it is in '{}'", index.string(), tensor.name,
                listed->second, shard);
      tensor.file = static_cast<int>(files.size());
      manifest.tensors.push_back(std::move(tensor));
    }
    manifest.files.push_back(shard_path);
    files.push_back(std::move(file));
  }
  for (const auto& [name, shard] : weight_map)
    if (!seen.contains(name))
      problem(ErrorCode::Format, "{} says that tensor '{}' is in '{}', but it is not", index.string(), name, shard);
  return std::make_shared<Checkpoint>(path, std::move(manifest), std::move(files));
}

}  // namespace taskvec::formats
