#include "taskvec/edit/tile.h"

#include "taskvec/formats/fingerprint.h"
#include "taskvec/kernels/weighted_sum.h"

#include <algorithm>
#include <cstring>

namespace taskvec::edit {
namespace {

constexpr uint64_t kBlock = uint64_t{4} << 20;  // a multiple of kHashChunk, at which tiles begin
constexpr uint64_t kFewPages = uint64_t{64} << 10;

/// Where the tensor begins in its file.
uint64_t file_offset(const formats::MappedTensor& tensor) {
  return static_cast<uint64_t>(tensor.view.bytes.data() - tensor.file->bytes().data());
}

}  // namespace

std::vector<Tile> tiles_of(const Plan& plan) {
  std::vector<Tile> tiles;
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    const auto& tensor = plan.tensors[t];
    int64_t narrowest = itemsize(tensor.info.dtype);
    for (const auto& term : tensor.terms)
      narrowest = std::min(narrowest, itemsize(plan.sources[term.source]->manifest().find(tensor.name)->info.dtype));
    const int64_t total = tensor.info.numel(), step = formats::kHashChunk / narrowest;
    for (int64_t begin = 0; begin < total; begin += step) tiles.push_back({t, begin, std::min(step, total - begin)});
  }
  return tiles;
}

void TileSource::populate() const {
  if (offset % kBlock != 0 || bytes.size() < kFewPages) return;
  const uint64_t size = std::min<uint64_t>(kBlock, tensor.view.bytes.size() - offset);
  tensor.file->populate(file_offset(tensor) + offset, size);
}

// Another thread may still read an earlier part of the block: its pages come back from the page cache.
void TileSource::release() const {
  const uint64_t end = offset + bytes.size();
  if (bytes.empty() || (end % kBlock != 0 && end != tensor.view.bytes.size())) return;
  const uint64_t begin = (end - 1) / kBlock * kBlock;
  tensor.file->release(file_offset(tensor) + begin, end - begin);
}

std::vector<TileSource> sources_of(const Plan& plan, const Tile& tile) {
  const auto& tensor = plan.tensors[tile.tensor];
  std::vector<TileSource> sources;
  sources.reserve(tensor.terms.size());
  for (const auto& term : tensor.terms) {
    auto& source = sources.emplace_back(TileSource{term.source, plan.sources[term.source]->tensor(tensor.name), 0, {}});
    const auto item = static_cast<size_t>(itemsize(source.tensor.view.info.dtype));
    source.offset = static_cast<uint64_t>(tile.begin) * item;
    source.bytes = source.tensor.view.bytes.subspan(source.offset, static_cast<size_t>(tile.n) * item);
  }
  return sources;
}

void compute(const TensorPlan& tensor, std::span<const TileSource> sources, int64_t first, int64_t n, Dtype to, std::byte* out) {
  const auto data = [&](const TileSource& source) {
    return source.bytes.data() + first * itemsize(source.tensor.view.info.dtype);
  };
  if (tensor.is_copy && to == tensor.info.dtype) {
    std::memcpy(out, data(sources[0]), static_cast<size_t>(n * itemsize(to)));
    return;
  }
  std::vector<kernels::Addend> addends;
  addends.reserve(sources.size());
  for (size_t k = 0; k < sources.size(); ++k)
    addends.push_back({sources[k].tensor.view.info.dtype, data(sources[k]), tensor.terms[k].coefficient});
  kernels::weighted_sum(addends, n, to, out);
}

}  // namespace taskvec::edit
