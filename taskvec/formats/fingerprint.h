#pragma once

#include "taskvec/core/tensor_view.h"

#include <span>
#include <string>
#include <vector>

namespace taskvec::formats {

/// Tensors are hashed in chunks of so many bytes, so that several threads (or an edit that reads the bytes anyway) can share the
/// work.
constexpr int64_t kHashChunk = int64_t{1} << 20;

/// XXH3-64 of one chunk.
uint64_t hash_chunk(std::span<const std::byte> chunk);
/// Number of chunks of a tensor of `nbytes`.
inline int64_t hash_chunks(int64_t nbytes) { return (nbytes + kHashChunk - 1) / kHashChunk; }

/// One tensor's part of a checkpoint's fingerprint.
struct TensorHashes {
  std::string name;
  TensorInfo info;
  std::vector<uint64_t> chunks;
};

/// The fingerprint of a checkpoint: XXH3-128 over names, dtypes, shapes and chunk hashes in name order.
std::string combine_hashes(std::vector<TensorHashes> tensors);

}  // namespace taskvec::formats
