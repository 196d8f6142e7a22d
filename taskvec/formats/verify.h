#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// What is in a checkpoint, and what is wrong with it.
struct Verification {
  struct Tensor {
    std::string name;
    TensorInfo info;
    int64_t nan = 0, infinite = 0;  ///< elements
  };
  std::string format;
  std::vector<std::filesystem::path> files;
  std::vector<Tensor> tensors;        ///< in on-disk order
  std::vector<std::string> unread;    ///< weights in the same folder that are no part of this checkpoint: files by name
  std::string fingerprint;            ///< as Checkpoint::fingerprint(); of the tensors that could be read
  std::vector<std::string> problems;  ///< each names file and tensor

  int64_t nbytes() const;
  bool ok() const { return problems.empty(); }
};

/// Checks every rule of the format, the shards against their index (tensors missing, twice, in another file, unlisted; files that
/// no index names), and every element: NaN and infinity are problems. Everything is read once, by all cores, in constant memory.
/// @throws Error{NotFound | Io | Unsupported} when there is no checkpoint that taskvec could read; a broken rule is a problem
Verification verify(const std::filesystem::path& path);

}  // namespace taskvec::formats
