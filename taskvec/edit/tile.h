#pragma once

#include "taskvec/edit/plan.h"

#include <functional>

namespace taskvec::edit {

/// Elements [begin, begin + n) of one output tensor into `out`: a byte copy where the plan says so, a weighted sum otherwise.
void compute_tile(const Plan& plan, const TensorPlan& tensor, int64_t begin, int64_t n, std::byte* out);

/// Calls body(tensor, begin, n) for tiles that cover every output tensor, from all threads. Tiles are large enough to hide their
/// overhead and small enough to balance a few big tensors over the cores.
void for_each_tile(const Plan& plan, const std::function<void(size_t tensor, int64_t begin, int64_t n)>& body);

}  // namespace taskvec::edit
