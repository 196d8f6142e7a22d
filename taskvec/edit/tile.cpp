#include "taskvec/edit/tile.h"

#include "taskvec/core/parallel.h"
#include "taskvec/kernels/weighted_sum.h"

#include <algorithm>
#include <cstring>

namespace taskvec::edit {
namespace {

constexpr int64_t kTileBytes = int64_t{1} << 20;

}  // namespace

void compute_tile(const Plan& plan, const TensorPlan& tensor, int64_t begin, int64_t n, std::byte* out) {
  std::vector<formats::MappedTensor> mapped;
  std::vector<kernels::Addend> addends;
  for (const auto& term : tensor.terms) {
    const auto& source = mapped.emplace_back(plan.sources[term.source]->tensor(tensor.name));
    addends.push_back(
        {source.view.info.dtype, source.view.bytes.data() + begin * itemsize(source.view.info.dtype), term.coefficient});
  }
  if (tensor.is_copy) {
    std::memcpy(out, addends[0].data, static_cast<size_t>(n * itemsize(tensor.info.dtype)));
  } else {
    kernels::weighted_sum(addends, n, tensor.info.dtype, out);
  }
}

void for_each_tile(const Plan& plan, const std::function<void(size_t, int64_t, int64_t)>& body) {
  struct Tile {
    size_t tensor;
    int64_t begin, n;
  };
  std::vector<Tile> tiles;
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    const int64_t total = plan.tensors[t].info.numel(), step = kTileBytes / itemsize(plan.tensors[t].info.dtype);
    for (int64_t begin = 0; begin < total; begin += step) tiles.push_back({t, begin, std::min(step, total - begin)});
  }
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const Tile& tile = tiles[static_cast<size_t>(i)];
    body(tile.tensor, tile.begin, tile.n);
  });
}

}  // namespace taskvec::edit
