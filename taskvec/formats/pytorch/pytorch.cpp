#include "taskvec/formats/pytorch/pytorch.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/failed_download.h"
#include "taskvec/core/files/inside.h"
#include "taskvec/formats/pytorch/strided.h"
#include "taskvec/formats/pytorch/torch_file.h"
#include "taskvec/formats/safetensors/safetensors.h"

#include <cstring>
#include <deque>
#include <mutex>
#include <set>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxInflated = uint64_t{4} << 30;  // of one storage: it is held in memory
constexpr size_t kHeldInflated = 2;                   // threads work on neighbouring tensors

/// Where a tensor's bytes come from.
struct Source {
  TorchTensor tensor;
  TorchStorage storage;
};

/// The storages that were inflated last.
class InflatedStorages {
 public:
  using Storage = std::shared_ptr<const std::vector<std::byte>>;

  Storage get(const MappedFile& file, const ZipEntry& entry) {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, offset, storage] : held_)
      if (known == &file && offset == entry.offset) return storage;
    if (held_.size() == kHeldInflated) held_.pop_front();
    held_.push_back({&file, entry.offset, std::make_shared<const std::vector<std::byte>>(inflate(file, entry))});
    return held_.back().storage;
  }

 private:
  struct Held {
    const MappedFile* file;
    uint64_t offset;
    Storage storage;
  };
  std::mutex mutex_;
  std::deque<Held> held_;
};

class TorchCheckpoint final : public Checkpoint {
 public:
  /// @param sources  one per tensor of the manifest
  TorchCheckpoint(fs::path path, Manifest manifest, std::vector<std::shared_ptr<const MappedFile>> files,
                  std::vector<Source> sources)
      : Checkpoint(std::move(path), std::move(manifest), std::move(files)), sources_(std::move(sources)) {}

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const auto& [tensor, storage] = sources_[manifest().index.find(entry.name)->second];
    const MappedFile& file = *files()[static_cast<size_t>(entry.file)];
    const auto inflated = storage.deflated ? inflated_.get(file, *storage.deflated) : nullptr;
    const std::span<const std::byte> bytes =
        inflated ? std::span(*inflated) : file.bytes().subspan(storage.offset, storage.nbytes);
    const int64_t first = static_cast<int64_t>(offset) / itemsize(entry.info.dtype);
    if (!out.empty()) gather(bytes, entry.info, tensor.strides, tensor.offset, first, out);
  }

  std::vector<Source> sources_;
  mutable InflatedStorages inflated_;
};

/// Several files' tensors on their way into a checkpoint.
struct Gathered {
  Manifest manifest;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<Source> sources;

  /// @return the names of the file's tensors
  std::vector<std::string> add(std::shared_ptr<const MappedFile> file) {
    TorchFile read = is_zip(file->bytes()) ? read_torch_zip(*file, read_zip_directory(*file)) : read_torch_legacy(*file);
    std::vector<std::string> names;
    for (auto& tensor : read.object.tensors) {
      names.push_back(tensor.name);
      add_tensor(*file, std::move(tensor), read.storages);
    }
    if (files.empty()) {
      manifest.format = read.format;
      manifest.metadata = std::move(read.object.metadata);
    }
    manifest.files.push_back(file->path());
    files.push_back(std::move(file));
    return names;
  }

  void add_tensor(const MappedFile& file, TorchTensor tensor, const std::map<std::string, TorchStorage, std::less<>>& storages) {
    const auto found = storages.find(tensor.storage);
    if (found == storages.end())
      fail(ErrorCode::Format, "{}: tensor '{}' needs storage '{}', which is not in the file", file.path().string(), tensor.name,
           tensor.storage);
    const TorchStorage& storage = found->second;
    if (static_cast<uint64_t>(tensor.storage_bytes) > storage.nbytes)
      fail(ErrorCode::Format, "{}: tensor '{}' needs a storage of {} bytes, but storage '{}' has {}; it may be truncated",
           file.path().string(), tensor.name, tensor.storage_bytes, tensor.storage, storage.nbytes);
    if (storage.deflated && storage.nbytes > kMaxInflated)
      fail(ErrorCode::Unsupported, "{}: storage '{}' inflates to {} bytes; at most {}; write the archive without compression",
           file.path().string(), tensor.storage, storage.nbytes, kMaxInflated);
    TensorEntry entry;
    entry.name = tensor.name;
    entry.info = tensor.info;
    entry.file = static_cast<int>(files.size());
    entry.as_is = tensor.contiguous() && !storage.deflated;
    entry.offset = storage.offset + (entry.as_is ? static_cast<uint64_t>(tensor.offset * itemsize(tensor.info.dtype)) : 0);
    manifest.tensors.push_back(std::move(entry));
    sources.push_back({std::move(tensor), storage});
  }

  std::shared_ptr<const Checkpoint> finish(const fs::path& path, std::vector<fs::path> sidecars) {
    manifest.sidecars = std::move(sidecars);
    return std::make_shared<TorchCheckpoint>(path, std::move(manifest), std::move(files), std::move(sources));
  }
};

}  // namespace

std::shared_ptr<const Checkpoint> open_pytorch(const fs::path& path, std::shared_ptr<const MappedFile> file,
                                               std::vector<fs::path> sidecars) {
  Gathered gathered;
  gathered.add(std::move(file));
  return gathered.finish(path, std::move(sidecars));
}

std::shared_ptr<const Checkpoint> open_pytorch_sharded(const fs::path& path, const fs::path& index,
                                                       std::vector<fs::path> sidecars) {
  const auto weight_map = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  Gathered gathered;
  size_t found = 0;
  for (const auto& shard : shards) {
    auto file = MappedFile::open(inside(index.parent_path(), shard));
    check_download(file->path(), file->bytes());
    for (const auto& name : gathered.add(std::move(file))) {
      const auto listed = weight_map.find(name);
      if (listed == weight_map.end() || listed->second != shard)
        fail(ErrorCode::Format, "{}: tensor '{}' is in '{}', which the index does not say", index.string(), name, shard);
      ++found;
    }
  }
  if (found != weight_map.size())
    fail(ErrorCode::Format, "{} lists {} tensors, but its files hold {}", index.string(), weight_map.size(), found);
  gathered.manifest.format = "sharded PyTorch";
  return gathered.finish(path, std::move(sidecars));
}

}  // namespace taskvec::formats
