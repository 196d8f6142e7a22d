#pragma once

#include "taskvec/core/files/atomic_file.h"
#include "taskvec/formats/writer.h"

namespace taskvec::formats {

/// Everything of an output file but the tensors' bytes. Its size is final from the start, so that the file can be allocated
/// before work begins and tensors can be written in any order.
struct FileLayout {
  uint64_t size = 0;
  std::vector<uint64_t> offsets;  ///< of the tensors
  struct Text {
    uint64_t offset;
    std::string bytes;
  };
  std::vector<Text> texts;  ///< headers, trailers and what else surrounds the tensors
};

/// How one format lays out a file. Stateless: the same tensors and metadata always give the same layout.
class OutputFormat {
 public:
  OutputFormat() = default;
  virtual ~OutputFormat() = default;
  OutputFormat(const OutputFormat&) = delete;
  OutputFormat& operator=(const OutputFormat&) = delete;

  /// @param path     of the output, for messages
  /// @param tensors  of this file, in on-disk order; metadata as in OutputLayout
  /// @throws Error{InvalidArgument} naming the tensor and the fix, for what the format cannot hold
  virtual FileLayout lay_out(const std::filesystem::path& path, std::span<const OutputLayout::Tensor> tensors,
                             const OutputLayout& layout) const = 0;

  /// Called once when all tensors are written: fills in what depends on their bytes.
  virtual void finish(const std::filesystem::path&, std::span<const OutputLayout::Tensor>, const OutputLayout&,
                      AtomicFile&) const {}
};

const OutputFormat& safetensors_output();
const OutputFormat& gguf_output();
const OutputFormat& npz_output();
const OutputFormat& npy_output();

}  // namespace taskvec::formats
