#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/delta/described_tensor.h"

#include <optional>

namespace taskvec::formats {

/// Tensors of a lossless file are named after the one that they restore, sidecars after theirs.
inline constexpr const char* kPlanesSuffix = ".planes";
inline constexpr const char* kChunksSuffix = ".chunks";
inline constexpr const char* kSidecarSuffix = ".sidecar";

/// A chunk of kHashChunk bytes of a tensor (the last one may be shorter).
struct DeltaChunk {
  uint64_t offset = 0;    ///< in the tensor's planes
  uint64_t size = 0;      ///< compressed; 0: the same as in the base
  uint64_t checksum = 0;  ///< hash_chunk() of the compressed bytes
};

/// A file beside the fine-tuned weights.
struct DeltaSidecar {
  std::string name, fingerprint;
  bool stored = false;                 ///< otherwise the base has the same
  std::span<const std::byte> bytes{};  ///< of a stored one
};

/// What a lossless file restores. Lifetime: spans are views of the checkpoint it was read from.
struct LosslessDelta {
  struct Tensor {
    DescribedTensor described;
    std::vector<DeltaChunk> chunks;  ///< empty: every byte is the base's
    std::span<const std::byte> planes;
  };
  std::vector<Tensor> tensors;  ///< in the order of the fine-tuned checkpoint
  std::map<std::string, std::string> metadata;
  std::vector<DeltaSidecar> sidecars;
};

/// The metadata beyond delta_metadata() and kDescriptionsKey.
std::map<std::string, std::string> lossless_metadata(const std::map<std::string, std::string>& finetuned,
                                                     const std::vector<DeltaSidecar>& sidecars);

/// Shows what lies in the file; its damage() is every chunk that does not restore.
std::shared_ptr<const Checkpoint> open_lossless_delta(const std::filesystem::path& path, Manifest manifest,
                                                      std::shared_ptr<const MappedFile> file);

/// @throws Error{Format} naming the file, the tensor and the rule: parts that are missing, chunk sizes that do not add up or that
/// no chunk of that many elements can have, sidecar names that reach out of a folder
LosslessDelta read_lossless(const Checkpoint& delta);

/// Bytes [chunk * kHashChunk, ...) of a tensor. @param base  those of the base's tensor; unused for a whole tensor
/// @throws Error{Format} when the checksum is wrong or the frame is damaged
void restore_chunk(const Checkpoint& delta, const LosslessDelta::Tensor& tensor, size_t chunk, std::span<const std::byte> base,
                   std::span<std::byte> out);

}  // namespace taskvec::formats
