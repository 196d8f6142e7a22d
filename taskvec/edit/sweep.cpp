#include "taskvec/edit/sweep.h"

#include "taskvec/core/parallel.h"
#include "taskvec/edit/tile.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <atomic>

namespace taskvec::edit {
namespace {

/// Output bytes that are computed at once: they are still in the cache when they are counted and consumed.
constexpr int64_t kComputeBytes = int64_t{256} << 10;

class Sweep {
 public:
  Sweep(const Plan& plan, const TileConsumer& consume)
      : plan_(plan), consume_(consume), tiles_(tiles_of(plan)), overflowed_(plan.tensors.size()) {
    std::vector<std::vector<bool>> computed;
    for (const auto& source : plan.sources) {
      auto& hashes = hashes_.emplace_back();
      for (const auto& entry : source->manifest().tensors)
        hashes.push_back({entry.name, entry.info, std::vector<uint64_t>(chunks(entry.info))});
      computed.emplace_back(hashes.size());
    }
    for (const auto& tensor : plan.tensors)
      for (const auto& term : tensor.terms) computed[term.source][position(term.source, tensor.name)] = true;
    for (size_t s = 0; s < hashes_.size(); ++s)
      for (size_t i = 0; i < hashes_[s].size(); ++i)
        for (size_t chunk = 0; !computed[s][i] && chunk < hashes_[s][i].chunks.size(); ++chunk) unread_.push_back({s, i, chunk});
  }

  SweepResult run() {
    const auto tiles = static_cast<int64_t>(tiles_.size());
    parallel_for(tiles + static_cast<int64_t>(unread_.size()), [&](int64_t i) {
      i < tiles ? compute_tile(tiles_[static_cast<size_t>(i)]) : hash_unread(unread_[static_cast<size_t>(i - tiles)]);
    });
    SweepResult result{{}, non_finite_, {}};
    for (size_t t = 0; t < overflowed_.size(); ++t)
      if (overflowed_[t] > 0) result.overflowed.emplace_back(t, overflowed_[t]);
    for (auto& hashes : hashes_) result.fingerprints.push_back(formats::combine_hashes(std::move(hashes)));
    return result;
  }

 private:
  /// A chunk of a source that no output tensor is made of; only its hash is wanted.
  struct Unread {
    size_t source, tensor, chunk;
  };

  static size_t chunks(const TensorInfo& info) { return static_cast<size_t>(formats::hash_chunks(info.nbytes())); }
  size_t position(size_t source, const std::string& name) const {
    return plan_.sources[source]->manifest().index.find(name)->second;
  }

  void hash(size_t source, size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
    auto& chunks = hashes_[source][tensor].chunks;
    for (size_t begin = 0; begin < bytes.size(); begin += formats::kHashChunk) {
      const size_t size = std::min<size_t>(formats::kHashChunk, bytes.size() - begin);
      chunks[(offset + begin) / formats::kHashChunk] = formats::hash_chunk(bytes.subspan(begin, size));
    }
  }

  void compute_tile(const Tile& tile) {
    const auto& tensor = plan_.tensors[tile.tensor];
    const auto sources = sources_of(plan_, tile);
    for (const auto& source : sources) {
      source.populate();
      hash(source.source, position(source.source, tensor.name), source.range.offset(), source.range.bytes());
    }
    thread_local std::vector<std::byte> scratch;
    const int64_t item = itemsize(tensor.info.dtype), step = kComputeBytes / item;
    for (int64_t first = 0; first < tile.n; first += step) {
      const int64_t n = std::min(step, tile.n - first);
      const auto size = static_cast<size_t>(n * item);
      std::span<const std::byte> bytes;
      if (tensor.is_copy) {
        bytes = sources[0].range.bytes().subspan(static_cast<size_t>(first * item), size);
        if (is_float(tensor.info.dtype)) non_finite_ += kernels::count_non_finite(tensor.info.dtype, bytes.data(), n);
      } else {
        scratch.resize(std::max<size_t>(scratch.size(), size));
        const bool saturate = plan_.options.on_overflow == OnOverflow::Saturate;
        const auto found = compute_counted(tensor, sources, first, n, saturate, scratch.data());
        non_finite_ += found.total - (saturate ? found.overflowed : 0);
        overflowed_[tile.tensor] += found.overflowed;
        bytes = std::span(scratch).first(size);
      }
      consume_(tile.tensor, static_cast<uint64_t>((tile.begin + first) * item), bytes);
    }
    for (const auto& source : sources) source.release();
  }

  void hash_unread(const Unread& unread) {
    const formats::Checkpoint& checkpoint = *plan_.sources[unread.source];
    const formats::TensorEntry& entry = checkpoint.manifest().tensors[unread.tensor];
    const uint64_t offset = unread.chunk * formats::kHashChunk;
    const uint64_t size = std::min<uint64_t>(formats::kHashChunk, static_cast<uint64_t>(entry.info.nbytes()) - offset);
    const TileSource source{unread.source, {checkpoint, entry, offset, size}};
    source.populate();
    hash(unread.source, unread.tensor, offset, source.range.bytes());
    source.release();
  }

  const Plan& plan_;
  const TileConsumer& consume_;
  std::vector<Tile> tiles_;
  std::vector<Unread> unread_;
  std::vector<std::vector<formats::TensorHashes>> hashes_;  // per source and tensor, filled by any thread, chunk by chunk
  std::atomic<int64_t> non_finite_{0};
  std::vector<std::atomic<int64_t>> overflowed_;  // per output tensor
};

}  // namespace

SweepResult sweep(const Plan& plan, const TileConsumer& consume) { return Sweep(plan, consume).run(); }

}  // namespace taskvec::edit
