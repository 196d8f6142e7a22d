#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/config_update.h"

#include <memory>
#include <optional>
#include <span>

namespace taskvec::formats {

/// What taskvec writes: a Hugging Face folder of safetensors, or a lone file.
enum class Output { Folder, Safetensors, Gguf, Npz, Npy };

/// The kind with this name ("folder", "safetensors", ...). @throws Error{InvalidArgument} listing those there are
Output parse_output(std::string_view name);
/// By extension; a folder for a path without a known one.
/// @throws Error{InvalidArgument} for the extension of a format that taskvec only reads
Output output_of(const std::filesystem::path& path);

/// What is to be written, known in full before the first byte.
struct OutputLayout {
  struct Tensor {
    std::string name;
    TensorInfo info;
    int shard = 0;  ///< 0-based; all 0 for one file
  };
  std::vector<Tensor> tensors;                  ///< in on-disk order
  std::map<std::string, std::string> metadata;  ///< written into every shard; a .npz has it in its comment, a .npy not at all
  std::map<std::string, std::string> native_metadata;  ///< as in Manifest; only a .gguf takes it
  std::vector<std::filesystem::path> sidecars;         ///< copied into the output folder; a lone file has none
  WrittenWeights weights{};                            ///< what a config.json among the sidecars has to say
  std::optional<Output> output;                        ///< default: by the path's extension
  std::vector<std::pair<std::string, std::span<const std::byte>>> contents{};  ///< files written into it: name, bytes
};

/// {"config.json": fingerprint, ...}: the files beside the weights that were written with them.
inline constexpr const char* kFilesKey = "taskvec.files";

/// Writes a lone file (.safetensors, .gguf version 3, .npz, .npy), or a Hugging Face folder (model.safetensors, or
/// model-00001-of-0000N.safetensors and an index when the layout has several shards) with the sidecars, whose names and
/// fingerprints are in the metadata (kFilesKey) where the metadata are taskvec's: what --force may replace.
/// Nothing appears under `path` before commit(); a writer that is destroyed without it leaves nothing.
/// Threads: tensor() spans may be filled from any threads, each by one at a time.
class CheckpointWriter {
 public:
  /// @throws Error{Io} read-only folder, no space left (checked by pre-allocating), ...; Error{InvalidArgument} for tensors that
  /// the format cannot hold, with the fix
  CheckpointWriter(const std::filesystem::path& path, OutputLayout layout);
  ~CheckpointWriter();

  /// The output bytes of tensor `index` of the layout, zero-initialised. Lifetime: until commit() or destruction.
  std::span<std::byte> tensor(size_t index);
  /// Writes a range of a tensor: faster than through tensor() where there is much of it.
  void write(size_t index, uint64_t offset, std::span<const std::byte> bytes);
  /// A finished range of a tensor: starts write-back and lets go of the pages.
  void finished(size_t index, uint64_t offset, uint64_t size);
  /// Replaces a metadata value fixed at construction with one of the same length (for fingerprints known only at the end);
  /// nothing to do for a .npy.
  void patch_metadata(const std::string& key, const std::string& value);
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace taskvec::formats
