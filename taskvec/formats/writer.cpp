#include "taskvec/formats/writer.h"

#include "taskvec/core/atomic_file.h"
#include "taskvec/core/error.h"
#include "taskvec/formats/safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

std::string shard_name(int shard, int shards) {
  return shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

std::string make_index(const OutputLayout& layout, int shards) {
  nlohmann::json weight_map = nlohmann::json::object();
  int64_t total = 0;
  for (const auto& tensor : layout.tensors) {
    weight_map[tensor.name] = shard_name(tensor.shard, shards);
    total += tensor.info.nbytes();
  }
  return nlohmann::json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n";
}

}  // namespace

struct CheckpointWriter::State {
  struct Place {
    size_t shard;
    uint64_t offset, size;
  };
  OutputLayout layout;
  std::optional<AtomicFolder> folder;
  std::vector<AtomicFile> files;
  std::vector<uint64_t> header_sizes;
  std::vector<Place> places;  // of the layout's tensors
};

CheckpointWriter::CheckpointWriter(const fs::path& path, OutputLayout layout) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.layout = std::move(layout);
  const bool lone = path.extension() == ".safetensors";
  int shards = 1;
  for (const auto& tensor : state.layout.tensors) shards = std::max(shards, tensor.shard + 1);
  if (lone && shards > 1) fail(ErrorCode::InvalidArgument, "{}: {} shards need a folder, not a file", path.string(), shards);
  if (!lone) state.folder.emplace(path);

  std::vector<std::vector<TensorEntry>> entries(static_cast<size_t>(shards));
  std::vector<size_t> position;  // of each tensor within its shard
  for (const auto& tensor : state.layout.tensors) {
    auto& shard = entries[static_cast<size_t>(tensor.shard)];
    position.push_back(shard.size());
    shard.push_back({tensor.name, tensor.info, tensor.shard, 0});
  }
  for (int shard = 0; shard < shards; ++shard) {
    auto& tensors = entries[static_cast<size_t>(shard)];
    const std::string header = make_safetensors_header(tensors, state.layout.metadata);
    uint64_t size = header.size();
    for (const auto& tensor : tensors) size += static_cast<uint64_t>(tensor.info.nbytes());
    state.files.emplace_back(lone ? path : state.folder->path() / shard_name(shard, shards), size);
    state.files.back().write_at(0, std::as_bytes(std::span(header)));
    state.header_sizes.push_back(header.size());
  }
  for (size_t i = 0; i < state.layout.tensors.size(); ++i) {
    const auto shard = static_cast<size_t>(state.layout.tensors[i].shard);
    const auto& entry = entries[shard][position[i]];
    state.places.push_back({shard, entry.offset, static_cast<uint64_t>(entry.info.nbytes())});
  }
  if (lone) return;
  for (const auto& sidecar : state.layout.sidecars) {
    std::error_code error;
    fs::copy_file(sidecar, state.folder->path() / sidecar.filename(), error);
    if (error) fail(ErrorCode::Io, "cannot copy {} to {}: {}", sidecar.string(), path.string(), error.message());
  }
  for (const auto& [name, bytes] : state.layout.contents)
    write_file_atomically(state.folder->path() / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (shards > 1) write_file_atomically(state.folder->path() / "model.safetensors.index.json", make_index(state.layout, shards));
}

CheckpointWriter::~CheckpointWriter() = default;

std::span<std::byte> CheckpointWriter::tensor(size_t index) {
  const auto& place = state_->places.at(index);
  return state_->files[place.shard].bytes().subspan(place.offset, place.size);
}

void CheckpointWriter::write(size_t index, uint64_t offset, std::span<const std::byte> bytes) {
  const auto& place = state_->places.at(index);
  if (offset > place.size || bytes.size() > place.size - offset)
    fail(ErrorCode::InvalidArgument, "tensor '{}': {} bytes at {} do not fit into {}", state_->layout.tensors[index].name,
         bytes.size(), offset, place.size);
  state_->files[place.shard].write_at(place.offset + offset, bytes);
}

void CheckpointWriter::finished(size_t index, uint64_t offset, uint64_t size) {
  const auto& place = state_->places.at(index);
  state_->files[place.shard].flush_hint(place.offset + offset, size);
}

void CheckpointWriter::patch_metadata(const std::string& key, const std::string& value) {
  auto& metadata = state_->layout.metadata;
  const auto found = metadata.find(key);
  if (found == metadata.end() || nlohmann::json(found->second).dump().size() != nlohmann::json(value).dump().size())
    fail(ErrorCode::InvalidArgument, "metadata '{}' can only be replaced by a value of the same length", key);
  found->second = value;
  for (size_t shard = 0; shard < state_->files.size(); ++shard) {
    std::vector<TensorEntry> entries;
    for (const auto& tensor : state_->layout.tensors)
      if (static_cast<size_t>(tensor.shard) == shard) entries.push_back({tensor.name, tensor.info, tensor.shard, 0});
    const std::string header = make_safetensors_header(entries, metadata);
    if (header.size() != state_->header_sizes[shard])
      fail(ErrorCode::InvalidArgument, "metadata '{}' changed the header's size", key);
    state_->files[shard].write_at(0, std::as_bytes(std::span(header)));
  }
}

void CheckpointWriter::commit() {
  for (auto& file : state_->files) file.commit();
  if (state_->folder) state_->folder->commit();
}

}  // namespace taskvec::formats
