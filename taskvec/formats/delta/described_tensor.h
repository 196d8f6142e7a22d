#pragma once

#include "taskvec/core/tensor_view.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace taskvec::formats {

/// A tensor that a task vector's file stands for, as its metadata tell it.
struct DescribedTensor {
  std::string name;
  TensorInfo info;
  int shard = 0;       ///< lossless: file of the fine-tuned checkpoint that it goes into
  bool whole = false;  ///< lossless: it owes nothing to the base
};

/// Where the descriptions lie in the metadata.
inline constexpr const char* kDescriptionsKey = "taskvec.delta.tensors";

/// A JSON array of objects.
std::string describe_tensors(const std::vector<DescribedTensor>& tensors);

/// @throws Error{Format} naming the file, the tensor and what is wrong: no such metadata, names that are there twice, unknown
/// dtypes, shapes whose size overflows, more than 16 TiB of tensors
std::vector<DescribedTensor> read_described_tensors(const std::filesystem::path& path,
                                                    const std::map<std::string, std::string>& metadata);

}  // namespace taskvec::formats
