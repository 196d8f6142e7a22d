#include "taskvec/edit/executors/tile.h"

#include <algorithm>
#include <cstring>

namespace taskvec::edit {
namespace {

constexpr uint64_t kBlock = uint64_t{16} << 20;  // a multiple of kHashChunk, at which tiles begin

}  // namespace

std::vector<kernels::Addend> addends_of(std::span<const TensorPlan::Term> terms, std::span<const TileSource> sources,
                                        const CallValues& calls, int64_t first) {
  std::vector<kernels::Addend> addends;
  addends.reserve(terms.size());
  for (size_t k = 0; k < terms.size(); ++k) {
    // Sources come in the order of the terms, but for those of calls.
    const TileSource* source = k < sources.size() && sources[k].source == terms[k].source ? &sources[k] : nullptr;
    if (source == nullptr)
      for (const auto& other : sources)
        if (other.source == terms[k].source) source = &other;
    if (source != nullptr) {
      addends.push_back({source->dtype(), source->data(first), terms[k].coefficient});
    } else {
      const auto& values = calls.at(terms[k].source);
      addends.push_back({Dtype::F32, reinterpret_cast<const std::byte*>(values.data()), terms[k].coefficient});
    }
  }
  return addends;
}

std::vector<Tile> tiles_of(const Plan& plan) {
  std::vector<Tile> tiles;
  for (size_t t = 0; t < plan.tensors.size(); ++t)
    for (const Tile& tile : tiles_of(plan, t)) tiles.push_back(tile);
  return tiles;
}

std::vector<Tile> tiles_of(const Plan& plan, size_t t) {
  std::vector<Tile> tiles;
  const auto& tensor = plan.tensors[t];
  int64_t narrowest = itemsize(tensor.info.dtype);
  for (const size_t source : plan.sources_of(tensor, /*looked_at=*/true))
    narrowest = std::min(narrowest, itemsize(plan.sources[source]->manifest().find(tensor.name)->info.dtype));
  const int64_t total = tensor.info.numel(), step = formats::kHashChunk / narrowest;
  for (int64_t begin = 0; begin < total; begin += step) tiles.push_back({t, begin, std::min(step, total - begin)});
  return tiles;
}

// The block that follows is mostly that of the next tensor.
void TileSource::read_ahead() const {
  if (range.offset() % kBlock != 0) return;
  range.read_ahead(range.offset(), kBlock);
  range.read_ahead(range.offset() + kBlock, kBlock);
}

// Another thread may still read an earlier part of the block: its pages come back from the page cache.
void TileSource::release() const {
  const uint64_t end = range.offset() + range.bytes().size();
  if (range.bytes().empty() || (end % kBlock != 0 && end != static_cast<uint64_t>(range.info().nbytes()))) return;
  const uint64_t begin = (end - 1) / kBlock * kBlock;
  range.release(begin, end - begin);
}

std::vector<TileSource> sources_of(const Plan& plan, const Tile& tile, bool looked_at) {
  const auto& tensor = plan.tensors[tile.tensor];
  std::vector<TileSource> sources;
  const std::vector<size_t> indices = plan.sources_of(tensor, looked_at);
  sources.reserve(indices.size());
  for (const size_t index : indices) {
    const formats::Checkpoint& checkpoint = *plan.sources[index];
    const formats::TensorEntry& entry = checkpoint.entry(tensor.name);
    const auto item = static_cast<uint64_t>(itemsize(entry.info.dtype));
    sources.push_back(
        {index, {checkpoint, entry, static_cast<uint64_t>(tile.begin) * item, static_cast<uint64_t>(tile.n) * item}});
  }
  return sources;
}

std::vector<const formats::Checkpoint*> checkpoints_of(const Plan& plan) {
  std::vector<const formats::Checkpoint*> checkpoints;
  for (const auto& source : plan.sources) checkpoints.push_back(source.get());
  return checkpoints;
}

TileHashes::TileHashes(formats::PassingFingerprints& fingerprints, const Plan& plan, const Tile& tile,
                       std::span<const TileSource> sources)
    : sources_(sources) {
  for (const auto& source : sources) {
    const auto& index = plan.sources[source.source]->manifest().index;
    runs_.push_back(fingerprints.run(source.source, index.find(plan.tensors[tile.tensor].name)->second, source.range.offset()));
  }
}

void TileHashes::add(int64_t first, int64_t n) {
  for (size_t k = 0; k < runs_.size(); ++k) {
    const int64_t item = itemsize(sources_[k].range.info().dtype);
    runs_[k].add(sources_[k].range.bytes().subspan(static_cast<size_t>(first * item), static_cast<size_t>(n * item)));
  }
}

void compute(const TensorPlan& tensor, std::span<const TileSource> sources, int64_t first, int64_t n, bool saturate,
             std::byte* out, const CallValues& calls) {
  if (tensor.is_copy) {
    std::memcpy(out, sources[0].data(first), static_cast<size_t>(n * itemsize(tensor.info.dtype)));
    return;
  }
  const auto addends = addends_of(tensor.terms, sources, calls, first);
  kernels::weighted_sum(addends, n, tensor.info.dtype, out);
  if (saturate) kernels::find_overflow(addends, n, tensor.info.dtype, out, saturate);
}

kernels::NonFinite compute_counted(const TensorPlan& tensor, std::span<const TileSource> sources, int64_t first, int64_t n,
                                   bool saturate, std::byte* out, const CallValues& calls) {
  const auto addends = addends_of(tensor.terms, sources, calls, first);
  kernels::weighted_sum(addends, n, tensor.info.dtype, out);
  return kernels::find_overflow(addends, n, tensor.info.dtype, out, saturate);
}

}  // namespace taskvec::edit
