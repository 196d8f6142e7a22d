#pragma once

#include "taskvec/core/files/mapped_file.h"
#include "taskvec/core/tensor_view.h"

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// One tensor of a checkpoint, in file order.
struct TensorEntry {
  std::string name;
  TensorInfo info;
  int file = 0;         ///< index into Manifest::files
  uint64_t offset = 0;  ///< of the first byte in that file
  bool as_is = true;    ///< lies there row-major in this dtype; otherwise Checkpoint::make() makes its bytes
};

/// What a checkpoint holds, known from its headers alone.
struct Manifest {
  std::string format;                                  ///< e.g. "safetensors", "sharded safetensors"
  std::vector<TensorEntry> tensors;                    ///< in on-disk order, names unique
  std::map<std::string, std::string> metadata;         ///< `__metadata__`, of the first shard where there are several
  std::map<std::string, std::string> native_metadata;  ///< entries that text cannot restore, as the format encodes them (GGUF)
  std::vector<std::filesystem::path> files;            ///< the files that hold tensors
  std::vector<std::filesystem::path> sidecars;         ///< config.json, tokenizer files, ... beside them (empty for a lone file)
  std::string codes;   ///< what of the tensors are codes that taskvec cannot read as values (quantised/), in words; "" for none
  bool delta = false;  ///< a task vector, not a model: tensors that it does not hold are zero

  const TensorEntry* find(std::string_view name) const;  ///< nullptr when absent
  int64_t nbytes() const;                                ///< of all tensors

  std::map<std::string, size_t, std::less<>> index;  ///< name -> position in `tensors`; filled by the readers
};

/// A few bytes can describe tensors of any size; those of a model that exists are smaller than this together.
constexpr int64_t kMaxTensorBytes = int64_t{1} << 44;

/// A tensor together with what keeps its bytes alive.
struct MappedTensor {
  TensorView view;
  std::shared_ptr<const MappedFile> file;                ///< null where the bytes had to be made
  std::shared_ptr<const std::vector<std::byte>> made{};  ///< null where they are mapped
};

/// An immutable checkpoint on disk: header first, bytes on demand. Formats whose tensors do not all lie in a file as they are
/// derive from it and say in make() how the others come about. Threads: all methods may be called from any thread.
class Checkpoint {
 public:
  /// @param files  those of manifest.files, mapped; the manifest's index is filled in here
  /// @throws Error{Format} when the tensors have more than kMaxTensorBytes together
  Checkpoint(std::filesystem::path path, Manifest manifest, std::vector<std::shared_ptr<const MappedFile>> files);
  virtual ~Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;
  const std::filesystem::path& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }  ///< those of manifest().files

  /// @throws Error{NotFound} naming the file and the nearest tensor name.
  const TensorEntry& entry(std::string_view name) const;
  /// All of a tensor: mapped where it lies in a file as it is, else made in memory. @throws as entry()
  MappedTensor tensor(std::string_view name) const;

  /// XXH3-128 over names, dtypes, shapes and bytes in name order: the same for a lone file and its sharded form. Reads everything
  /// once (in parallel, by chunk) and remembers the result.
  std::string fingerprint() const;

  /// @throws Error{Io} when one of the files was changed since it was opened.
  virtual void check_unchanged() const;

  /// What only reading every byte shows: checksums of the format that do not match, a message for each.
  virtual std::vector<std::string> damage() const { return {}; }

 private:
  friend class TensorRange;
  /// Bytes [offset, offset + out.size()) of a tensor that does not lie in a file as it is (dequantised, decompressed, gathered):
  /// whole elements, row-major. Called from any thread.
  virtual void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const;

  std::filesystem::path path_;
  Manifest manifest_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  mutable std::shared_ptr<const std::string> fingerprint_;  // accessed with std::atomic_load/store
};

/// Part of a tensor's bytes: a view of the file where they lie there as they are, else made into memory of its own.
/// Lifetime: the checkpoint must outlive it.
class TensorRange {
 public:
  /// @param offset, size  in bytes, within the tensor and at whole elements
  TensorRange(const Checkpoint& checkpoint, const TensorEntry& entry, uint64_t offset, uint64_t size);

  std::span<const std::byte> bytes() const& { return bytes_; }
  std::span<const std::byte> bytes() && = delete;
  const TensorInfo& info() const { return entry_->info; }  ///< of the whole tensor
  uint64_t offset() const { return offset_; }

  /// Begin to read bytes [begin, begin + size) from the tensor's beginning, which may reach beyond its end, or let go of them;
  /// nothing to do where bytes were made.
  void read_ahead(uint64_t begin, uint64_t size) const;
  void release(uint64_t begin, uint64_t size) const;
  void release() const { release(offset_, bytes_.size()); }

 private:
  const TensorEntry* entry_;
  const MappedFile* file_ = nullptr;
  uint64_t offset_;
  std::vector<std::byte> made_;
  std::span<const std::byte> bytes_;
};

/// Opens a checkpoint: a file of any format that docs/formats.md lists, a shard index, or a folder: a model's (model.safetensors
/// or pytorch_model.bin, or their indexes) or a PEFT LoRA adapter's. The format is recognised by content, never by extension
/// alone. Every rule of the format is checked before this returns.
/// @throws Error{NotFound | Format | Io | Unsupported} naming the file, the tensor and the rule.
std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path);

}  // namespace taskvec::formats
