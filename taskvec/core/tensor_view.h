#pragma once

#include "taskvec/core/dtype.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace taskvec {

using Shape = std::vector<int64_t>;

/// Number of elements; 1 for a 0-dimensional tensor. @throws Error{Format} on overflow or a negative dimension.
int64_t numel(const Shape& shape);

/// "[768, 3, 32, 32]"
std::string to_string(const Shape& shape);

/// What is known of a tensor without its bytes.
struct TensorInfo {
  Dtype dtype = Dtype::F32;
  Shape shape;

  int64_t numel() const { return taskvec::numel(shape); }
  int64_t nbytes() const;
  bool operator==(const TensorInfo&) const = default;
};

/// A tensor whose bytes live elsewhere: contiguous, row-major, little-endian. Never owns.
struct TensorView {
  TensorInfo info;
  std::span<const std::byte> bytes;  ///< exactly info.nbytes(); alignment is not guaranteed
};

}  // namespace taskvec
