#include "taskvec/edit/compare.h"

#include "taskvec/core/parallel.h"

#include <algorithm>

namespace taskvec::edit {
namespace {

void compare_tensor(const formats::Checkpoint& a, const formats::Checkpoint& b, Comparison::Tensor& out) {
  const auto x = a.tensor(out.name), y = b.tensor(out.name);
  const auto &left = x.view.info, &right = y.view.info;
  out.same = left == right && std::ranges::equal(x.view.bytes, y.view.bytes);
  out.comparable = left.shape == right.shape && (left.dtype == right.dtype || (is_float(left.dtype) && is_float(right.dtype)));
  if (out.comparable && is_float(left.dtype))
    out.difference = kernels::difference(left.dtype, x.view.bytes.data(), right.dtype, y.view.bytes.data(), left.numel());
}

}  // namespace

bool Comparison::same() const {
  return only_in_a.empty() && only_in_b.empty() &&
         std::all_of(tensors.begin(), tensors.end(), [](const auto& t) { return t.same; });
}

Comparison compare(const formats::Checkpoint& a, const formats::Checkpoint& b) {
  Comparison result;
  for (const auto& entry : a.manifest().tensors) {
    if (b.manifest().find(entry.name) != nullptr) {
      result.tensors.push_back({.name = entry.name, .difference = {}});
    } else {
      result.only_in_a.push_back(entry.name);
    }
  }
  for (const auto& entry : b.manifest().tensors)
    if (a.manifest().find(entry.name) == nullptr) result.only_in_b.push_back(entry.name);
  parallel_for(static_cast<int64_t>(result.tensors.size()),
               [&](int64_t i) { compare_tensor(a, b, result.tensors[static_cast<size_t>(i)]); });
  for (const auto& tensor : result.tensors) result.total.merge(tensor.difference);  // in order: the same sum on any thread count
  return result;
}

}  // namespace taskvec::edit
