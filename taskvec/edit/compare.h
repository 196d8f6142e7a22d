#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/kernels/statistics.h"

#include <string>
#include <vector>

namespace taskvec::edit {

/// How two checkpoints differ, tensor by tensor.
struct Comparison {
  struct Tensor {
    std::string name;
    bool comparable = true;  ///< same shape, both float or the same dtype
    bool same = false;       ///< same dtype, shape and bytes
    kernels::Difference difference;
  };
  std::vector<Tensor> tensors;  ///< those in both, in the order of a
  std::vector<std::string> only_in_a, only_in_b;
  kernels::Difference total;  ///< over float tensors; sqrt(total.sum_squares) is the norm of the task vector b - a

  bool same() const;
};

/// Reads both once, in parallel.
Comparison compare(const formats::Checkpoint& a, const formats::Checkpoint& b);

}  // namespace taskvec::edit
