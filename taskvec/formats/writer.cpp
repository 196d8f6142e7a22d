#include "taskvec/formats/writer.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/formats/folders/replaceable.h"
#include "taskvec/formats/output_format.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <tuple>

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

struct Kind {
  Output output;
  std::string_view name, extension;
  const OutputFormat& (*format)();
};
/// In the order of the enumerators.
constexpr std::array kKinds{Kind{Output::Folder, "folder", "", safetensors_output},
                            Kind{Output::Safetensors, "safetensors", ".safetensors", safetensors_output},
                            Kind{Output::Gguf, "gguf", ".gguf", gguf_output}, Kind{Output::Npz, "npz", ".npz", npz_output},
                            Kind{Output::Npy, "npy", ".npy", npy_output}};
constexpr std::array kReadOnly{".pt", ".pth", ".bin", ".ckpt", ".pkl", ".h5", ".onnx"};

const OutputFormat& format_of(Output output) { return kKinds[static_cast<size_t>(output)].format(); }

void write_texts(const FileLayout& layout, AtomicFile& file) {
  for (const auto& text : layout.texts) file.write_at(text.offset, std::as_bytes(std::span(text.bytes)));
}

}  // namespace

Output parse_output(std::string_view name) {
  std::string names;
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return kind.output;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
  }
  fail(ErrorCode::InvalidArgument, "no such output format: '{}'; there are {}", name, names);
}

Output output_of(const fs::path& path) {
  const fs::path extension = path.extension();
  for (const Kind& kind : kKinds)
    if (!kind.extension.empty() && extension == kind.extension) return kind.output;
  if (std::find(kReadOnly.begin(), kReadOnly.end(), extension) != kReadOnly.end())
    fail(ErrorCode::InvalidArgument, "{}: taskvec does not write {} files; end the name in .safetensors, or give a folder",
         path.string(), extension.string());
  return Output::Folder;
}

struct CheckpointWriter::State {
  /// One output file.
  struct Shard {
    fs::path path;
    std::vector<OutputLayout::Tensor> tensors;
    FileLayout layout;
    std::optional<AtomicFile> file;
  };
  struct Place {
    size_t shard, tensor;  // the tensor's position in its shard
  };
  fs::path target;
  OutputLayout layout;
  const OutputFormat* format = nullptr;
  std::optional<AtomicFolder> folder;
  std::vector<Shard> shards;
  std::vector<Place> places;  // of the layout's tensors

  /// The file, offset and size of a tensor.
  std::tuple<AtomicFile&, uint64_t, uint64_t> where(size_t index) {
    const Place& place = places.at(index);
    Shard& shard = shards[place.shard];
    return {*shard.file, shard.layout.offsets[place.tensor], static_cast<uint64_t>(shard.tensors[place.tensor].info.nbytes())};
  }
};

CheckpointWriter::CheckpointWriter(const fs::path& path, OutputLayout layout) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.target = path;
  state.layout = std::move(layout);
  const Output output = state.layout.output ? *state.layout.output : output_of(path);
  const bool lone = output != Output::Folder;
  state.format = &format_of(output);
  int shards = 1;
  for (const auto& tensor : state.layout.tensors) shards = std::max(shards, tensor.shard + 1);
  if (lone && shards > 1) fail(ErrorCode::InvalidArgument, "{}: {} shards need a folder, not a file", path.string(), shards);

  state.shards.resize(static_cast<size_t>(shards));
  for (const auto& tensor : state.layout.tensors) {
    const auto shard = static_cast<size_t>(tensor.shard);
    state.places.push_back({shard, state.shards[shard].tensors.size()});
    state.shards[shard].tensors.push_back(tensor);
  }
  std::vector<std::pair<std::string, std::string>> configs;  // name, updated text
  if (!lone) {
    state.folder.emplace(path);
    nlohmann::ordered_json files = nlohmann::ordered_json::object();
    for (const auto& sidecar : state.layout.sidecars) {
      const std::string name = sidecar.filename().string();
      std::string text = read_file(sidecar);
      const bool is_config = name == "config.json";
      if (is_config) text = updated_config(std::move(text), state.layout.weights);
      files[name] = taskvec::fingerprint(text);
      if (is_config) configs.emplace_back(name, std::move(text));
    }
    for (const auto& [name, bytes] : state.layout.contents) files[name] = taskvec::fingerprint(bytes);
    const auto own = state.layout.metadata.lower_bound("taskvec.");
    if (own != state.layout.metadata.end() && own->first.starts_with("taskvec."))
      state.layout.metadata[kFilesKey] = files.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  for (int i = 0; i < shards; ++i) {
    auto& shard = state.shards[static_cast<size_t>(i)];
    shard.path = lone ? path : state.folder->path() / shard_name(i, shards);
    shard.layout = state.format->lay_out(path, shard.tensors, state.layout);
    shard.file.emplace(shard.path, shard.layout.size);
    write_texts(shard.layout, *shard.file);
  }
  if (lone) return;
  for (const auto& sidecar : state.layout.sidecars)
    if (sidecar.filename() != "config.json") taskvec::copy_file(sidecar, state.folder->path() / sidecar.filename());
  for (const auto& [name, text] : configs) write_file_atomically(state.folder->path() / name, text);
  for (const auto& [name, bytes] : state.layout.contents)
    write_file_atomically(state.folder->path() / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (shards > 1) write_file_atomically(state.folder->path() / "model.safetensors.index.json", make_index(state.layout, shards));
}

CheckpointWriter::~CheckpointWriter() = default;

std::span<std::byte> CheckpointWriter::tensor(size_t index) {
  const auto [file, begin, total] = state_->where(index);
  return file.bytes().subspan(begin, total);
}

void CheckpointWriter::write(size_t index, uint64_t offset, std::span<const std::byte> bytes) {
  const auto [file, begin, total] = state_->where(index);
  if (offset > total || bytes.size() > total - offset)
    fail(ErrorCode::InvalidArgument, "tensor '{}': {} bytes at {} do not fit into {}", state_->layout.tensors[index].name,
         bytes.size(), offset, total);
  file.write_at(begin + offset, bytes);
}

void CheckpointWriter::finished(size_t index, uint64_t offset, uint64_t size) {
  const auto [file, begin, total] = state_->where(index);
  file.flush_hint(begin + offset, size);
}

void CheckpointWriter::patch_metadata(const std::string& key, const std::string& value) {
  auto& metadata = state_->layout.metadata;
  const auto found = metadata.find(key);
  if (found == metadata.end() || nlohmann::json(found->second).dump().size() != nlohmann::json(value).dump().size())
    fail(ErrorCode::InvalidArgument, "metadata '{}' can only be replaced by a value of the same length", key);
  found->second = value;
  for (auto& shard : state_->shards) {
    const FileLayout patched = state_->format->lay_out(shard.path, shard.tensors, state_->layout);
    if (patched.size != shard.layout.size || patched.offsets != shard.layout.offsets)
      fail(ErrorCode::InvalidArgument, "metadata '{}' changed the header's size", key);
    write_texts(patched, *shard.file);
  }
}

void CheckpointWriter::commit() {
  for (auto& shard : state_->shards) {
    state_->format->finish(shard.path, shard.tensors, state_->layout, *shard.file);
    shard.file->commit();
  }
  if (!state_->folder) return;
  // Once more: the work may have taken an hour, and somebody may have put a file into the old folder.
  check_replaceable(state_->target, /*force=*/true);
  state_->folder->commit();
}

}  // namespace taskvec::formats
