#pragma once

#include "taskvec/core/dtype.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace taskvec::formats {

/// A tensor type of GGUF. Quantised types store blocks of elements that share scales.
/// Source: ggml.h (`ggml_type`), ggml-common.h (block layouts), ggml-quants.c; numbers as in the Python package gguf.
struct GgmlType {
  uint32_t id;  ///< on disk
  std::string_view name;
  int64_t block_elements, block_bytes;                            ///< 0 where taskvec does not read the type
  std::optional<Dtype> as_is;                                     ///< the same elements as a dtype of ours
  void (*dequantize)(const std::byte* block, float* elements){};  ///< one block; null where as_is says it all

  bool readable() const { return block_elements != 0; }
};

/// nullptr for numbers that GGUF does not define.
const GgmlType* find_ggml_type(uint32_t id);
/// The type whose elements are those of `dtype`; nullptr where GGUF has none (unsigned, bool, 8-bit floats, complex).
const GgmlType* find_ggml_type(Dtype dtype);

}  // namespace taskvec::formats
