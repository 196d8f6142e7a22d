#include "taskvec/core/tensor_view.h"

#include "taskvec/core/checked.h"

#include <fmt/ranges.h>

namespace taskvec {

int64_t numel(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dimension : shape) count = checked_mul(count, dimension, "number of elements");
  return count;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t TensorInfo::nbytes() const { return checked_mul(numel(), itemsize(dtype), "tensor size"); }

}  // namespace taskvec
