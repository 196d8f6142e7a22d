#include "taskvec/edit/executors/sweep.h"

#include "taskvec/core/parallel.h"
#include "taskvec/edit/executors/consumer_queue.h"
#include "taskvec/edit/executors/tile.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <atomic>

namespace taskvec::edit {
namespace {

/// Output bytes that are consumed at once: larger writes cost the system less.
constexpr int64_t kConsumeBytes = int64_t{256} << 10;
/// Output bytes that are computed at once: with those of a few sources they stay in the second-level cache while they are hashed
/// and computed with.
constexpr int64_t kComputeBytes = int64_t{64} << 10;

class Sweep {
 public:
  Sweep(const Plan& plan, const Merges& merges, const TileConsumer& consume)
      : plan_(plan),
        merges_(merges),
        queue_(consume, kConsumeBytes, 2 * static_cast<size_t>(thread_count()) + 2),
        tiles_(tiles_of(plan)),
        fingerprints_(checkpoints_of(plan)),
        non_finite_(plan.tensors.size()),
        given_(plan.tensors.size()),
        overflowed_(plan.tensors.size()) {}

  SweepResult run() {
    parallel_for(static_cast<int64_t>(tiles_.size()), [&](int64_t i) { compute_tile(tiles_[static_cast<size_t>(i)]); });
    SweepResult result{fingerprints_.finish(), 0, {}, {}};
    for (size_t t = 0; t < non_finite_.size(); ++t) {
      result.non_finite += non_finite_[t];
      if (non_finite_[t] > 0) result.non_finite_tensors.push_back({t, non_finite_[t], given_[t]});
    }
    for (size_t t = 0; t < overflowed_.size(); ++t)
      if (overflowed_[t] > 0) result.overflowed.emplace_back(t, overflowed_[t]);
    return result;
  }

 private:
  void compute_tile(const Tile& tile) {
    const auto& tensor = plan_.tensors[tile.tensor];
    const auto sources = sources_of(plan_, tile);
    for (const auto& source : sources) source.read_ahead();
    TileHashes hashes(fingerprints_, plan_, tile, sources);
    const int64_t item = itemsize(tensor.info.dtype), step = kConsumeBytes / item;
    for (int64_t first = 0; first < tile.n; first += step) {
      const int64_t n = std::min(step, tile.n - first);
      auto buffer = queue_.take_buffer();
      compute_part(tile, sources, hashes, first, n, buffer.data());
      queue_.add(
          {tile.tensor, static_cast<uint64_t>((tile.begin + first) * item), std::move(buffer), static_cast<size_t>(n * item)});
    }
    for (const auto& source : sources) source.release();
  }

  /// Elements [begin, begin + n) of a tile.
  void compute_part(const Tile& tile, std::span<const TileSource> sources, TileHashes& hashes, int64_t begin, int64_t n,
                    std::byte* out) {
    const auto& tensor = plan_.tensors[tile.tensor];
    const bool saturate = plan_.options.on_overflow == OnOverflow::Saturate;
    const int64_t item = itemsize(tensor.info.dtype), step = kComputeBytes / item;
    for (int64_t done = 0; done < n; done += step) {
      const int64_t count = std::min(step, n - done);
      hashes.add(begin + done, count);
      if (tensor.is_copy) {
        compute(tensor, sources, begin + done, count, saturate, out + done * item);
        if (!is_float(tensor.info.dtype)) continue;
        const int64_t there = kernels::count_non_finite(tensor.info.dtype, out + done * item, count);
        non_finite_[tile.tensor] += there;
        given_[tile.tensor] += there;
        continue;
      }
      const auto calls = tensor.calls.empty() ? CallValues() : merges_.values(tile, sources, begin + done, count);
      const auto found = compute_counted(tensor, sources, begin + done, count, saturate, out + done * item, calls);
      given_[tile.tensor] += found.given;
      non_finite_[tile.tensor] += found.total - (saturate ? found.overflowed : 0);
      overflowed_[tile.tensor] += found.overflowed;
    }
  }

  const Plan& plan_;
  const Merges& merges_;
  ConsumerQueue queue_;
  std::vector<Tile> tiles_;
  formats::PassingFingerprints fingerprints_;
  std::vector<std::atomic<int64_t>> non_finite_, given_;  // per output tensor
  std::vector<std::atomic<int64_t>> overflowed_;          // per output tensor
};

}  // namespace

SweepResult sweep(const Plan& plan, const Merges& merges, const TileConsumer& consume) {
  return Sweep(plan, merges, consume).run();
}

}  // namespace taskvec::edit
