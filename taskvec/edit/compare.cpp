#include "taskvec/edit/compare.h"

#include "taskvec/core/parallel.h"

#include <algorithm>
#include <cstring>

namespace taskvec::edit {
namespace {

/// The order of the sums depends on it, so it is not to be tuned: a tensor's sums are those of its parts of so many elements,
/// added from the first to the last.
constexpr int64_t kTileElements = int64_t{1} << 20;

/// Elements of one tensor that are compared at once.
struct Tile {
  size_t tensor;
  int64_t begin, n;
  bool same = false;
  kernels::Difference difference = {};
};

void compare_tile(const formats::Checkpoint& a, const formats::Checkpoint& b, const std::string& name, Tile& tile) {
  const auto part = [&](const formats::Checkpoint& checkpoint) {
    const formats::TensorEntry& entry = checkpoint.entry(name);
    const auto item = static_cast<uint64_t>(itemsize(entry.info.dtype));
    return formats::TensorRange(checkpoint, entry, static_cast<uint64_t>(tile.begin) * item,
                                static_cast<uint64_t>(tile.n) * item);
  };
  const formats::TensorRange x = part(a), y = part(b);
  const auto left = x.bytes(), right = y.bytes();
  const Dtype dtype = x.info().dtype;
  if (is_float(dtype)) {
    tile.difference = kernels::difference(dtype, left.data(), y.info().dtype, right.data(), tile.n);
    tile.same = dtype == y.info().dtype && tile.difference.differing == 0;
  } else {
    tile.same = left.empty() || std::memcmp(left.data(), right.data(), left.size()) == 0;
  }
  x.release();
  y.release();
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
  std::vector<Tile> tiles;
  for (size_t t = 0; t < result.tensors.size(); ++t) {
    auto& tensor = result.tensors[t];
    const auto &x = a.manifest().find(tensor.name)->info, &y = b.manifest().find(tensor.name)->info;
    tensor.comparable = x.shape == y.shape && (x.dtype == y.dtype || (is_float(x.dtype) && is_float(y.dtype)));
    tensor.same = x == y;
    if (!tensor.comparable) continue;
    const int64_t total = x.numel();
    for (int64_t begin = 0; begin < total; begin += kTileElements)
      tiles.push_back({.tensor = t, .begin = begin, .n = std::min(kTileElements, total - begin)});
  }
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    Tile& tile = tiles[static_cast<size_t>(i)];
    compare_tile(a, b, result.tensors[tile.tensor].name, tile);
  });
  for (const auto& tile : tiles) {
    auto& tensor = result.tensors[tile.tensor];
    tensor.same = tensor.same && tile.same;
    tensor.difference.merge(tile.difference);
  }
  for (const auto& tensor : result.tensors) result.total.merge(tensor.difference);  // in order: the same sum on any thread count
  return result;
}

}  // namespace taskvec::edit
