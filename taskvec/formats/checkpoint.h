#pragma once

#include "taskvec/core/mapped_file.h"
#include "taskvec/core/tensor_view.h"

#include <filesystem>
#include <map>
#include <memory>
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
};

/// What a checkpoint holds, known from its headers alone.
struct Manifest {
  std::string format;                           ///< "safetensors" or "sharded safetensors"
  std::vector<TensorEntry> tensors;             ///< in on-disk order, names unique
  std::map<std::string, std::string> metadata;  ///< `__metadata__`, of the first shard where there are several
  std::vector<std::filesystem::path> files;     ///< the files that hold tensors
  std::vector<std::filesystem::path> sidecars;  ///< config.json, tokenizer files, ... beside them (empty for a lone file)

  const TensorEntry* find(std::string_view name) const;  ///< nullptr when absent
  int64_t nbytes() const;                                ///< of all tensors

  std::map<std::string, size_t, std::less<>> index;  ///< name -> position in `tensors`; filled by the readers
};

/// A tensor together with the mapping that keeps its bytes alive.
struct MappedTensor {
  TensorView view;
  std::shared_ptr<const MappedFile> file;
};

/// An immutable checkpoint on disk: header first, bytes on demand. Threads: all methods may be called from any thread.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  const std::filesystem::path& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }

  /// @throws Error{NotFound} naming the file and the nearest tensor name.
  virtual MappedTensor tensor(std::string_view name) const = 0;

  /// XXH3-128 over names, dtypes, shapes and bytes in name order: the same for a lone file and its sharded form. Reads everything
  /// once (in parallel, by tensor) and remembers the result.
  std::string fingerprint() const;

  /// @throws Error{Io} when one of the files was changed since it was opened.
  virtual void check_unchanged() const = 0;

 protected:
  std::filesystem::path path_;
  Manifest manifest_;

 private:
  mutable std::shared_ptr<const std::string> fingerprint_;  // accessed with std::atomic_load/store
};

/// Opens a checkpoint: a .safetensors file, a folder with model.safetensors or with model.safetensors.index.json, or an index
/// file. The format is recognised by content, never by extension alone. Every rule of the format is checked before this returns.
/// @throws Error{NotFound | Format | Io | Unsupported} naming the file, the tensor and the rule.
std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path);

}  // namespace taskvec::formats
