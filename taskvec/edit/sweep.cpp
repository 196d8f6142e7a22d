#include "taskvec/edit/sweep.h"

#include "taskvec/core/parallel.h"
#include "taskvec/edit/tile.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <atomic>

namespace taskvec::edit {
namespace {

/// Output bytes that are computed at once: with those of a few sources they stay in the second-level cache, where they are
/// hashed, counted and consumed.
constexpr int64_t kComputeBytes = int64_t{64} << 10;

class Sweep {
 public:
  Sweep(const Plan& plan, const TileConsumer& consume)
      : plan_(plan),
        consume_(consume),
        tiles_(tiles_of(plan)),
        fingerprints_(checkpoints_of(plan)),
        overflowed_(plan.tensors.size()) {}

  SweepResult run() {
    parallel_for(static_cast<int64_t>(tiles_.size()), [&](int64_t i) { compute_tile(tiles_[static_cast<size_t>(i)]); });
    SweepResult result{fingerprints_.finish(), non_finite_, {}};
    for (size_t t = 0; t < overflowed_.size(); ++t)
      if (overflowed_[t] > 0) result.overflowed.emplace_back(t, overflowed_[t]);
    return result;
  }

 private:
  void compute_tile(const Tile& tile) {
    const auto& tensor = plan_.tensors[tile.tensor];
    const auto sources = sources_of(plan_, tile);
    for (const auto& source : sources) source.populate();
    TileHashes hashes(fingerprints_, plan_, tile, sources);
    thread_local std::vector<std::byte> scratch;
    const int64_t item = itemsize(tensor.info.dtype), step = kComputeBytes / item;
    for (int64_t first = 0; first < tile.n; first += step) {
      const int64_t n = std::min(step, tile.n - first);
      const auto size = static_cast<size_t>(n * item);
      hashes.add(first, n);
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

  const Plan& plan_;
  const TileConsumer& consume_;
  std::vector<Tile> tiles_;
  formats::PassingFingerprints fingerprints_;
  std::atomic<int64_t> non_finite_{0};
  std::vector<std::atomic<int64_t>> overflowed_;  // per output tensor
};

}  // namespace

SweepResult sweep(const Plan& plan, const TileConsumer& consume) { return Sweep(plan, consume).run(); }

}  // namespace taskvec::edit
