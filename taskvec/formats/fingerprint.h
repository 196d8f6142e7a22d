#pragma once

#include "taskvec/formats/checkpoint.h"

#include <memory>
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

/// Fingerprints of checkpoints whose bytes are read for another purpose: whoever reads a range hands its bytes over while they
/// are in the cache, and what nobody has read is read at the end. Threads: runs of different ranges may be in different threads.
/// Lifetime: the checkpoints must outlive it.
class PassingFingerprints {
 public:
  explicit PassingFingerprints(std::vector<const Checkpoint*> checkpoints);
  ~PassingFingerprints();

  /// Consecutive bytes of one tensor, from a multiple of kHashChunk on, ending at one or at the tensor's end. Chunks that are run
  /// over again get the same hash again.
  class Run {
   public:
    void add(std::span<const std::byte> bytes);

   private:
    friend class PassingFingerprints;
    struct State;
    struct Free {
      void operator()(State* state) const;
    };
    Run(TensorHashes& hashes, std::vector<char>& known, uint64_t offset) : hashes_(&hashes), known_(&known), offset_(offset) {}
    TensorHashes* hashes_;
    std::vector<char>* known_;
    uint64_t offset_;
    std::unique_ptr<State, Free> state_;  // of a chunk that has begun
  };
  /// @param checkpoint, tensor  positions in the list that was given and in its manifest
  Run run(size_t checkpoint, size_t tensor, uint64_t offset);

  /// In the order of the checkpoints. To be called once.
  std::vector<std::string> finish();

 private:
  struct Source;
  std::vector<Source> sources_;
};

}  // namespace taskvec::formats
