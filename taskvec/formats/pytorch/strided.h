#pragma once

#include "taskvec/core/tensor_view.h"

#include <span>
#include <vector>

namespace taskvec::formats {

/// Elements [first, first + out.size() / itemsize) of a strided tensor in row-major order.
/// @param storage  holds every element that the strides reach (the caller has checked it)
/// @param strides  in elements, one per dimension of info.shape
/// @param offset   of the first element, in elements
void gather(std::span<const std::byte> storage, const TensorInfo& info, std::span<const int64_t> strides, int64_t offset,
            int64_t first, std::span<std::byte> out);

}  // namespace taskvec::formats
