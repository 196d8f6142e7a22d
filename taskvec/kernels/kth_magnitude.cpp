#include "taskvec/kernels/kth_magnitude.h"

#include "taskvec/kernels/count_magnitudes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace taskvec::kernels {
namespace {

constexpr uint32_t kBins = 65'536;
/// Fewer values are not worth a sample.
constexpr int64_t kFew = int64_t{1} << 20;
/// Bits that a thread gathers, and that all do together: 4 and 8 MiB.
constexpr int64_t kMostGathered = int64_t{1} << 20, kMostTogether = 2 * kMostGathered;

/// The bin that holds the value of a rank from the top, from 1. @param above  values in larger bins are added to it
uint32_t bin_of(const std::vector<uint64_t>& bins, int64_t rank, int64_t& above) {
  size_t bin = bins.size() - 1;
  while (bin > 0 && above + static_cast<int64_t>(bins[bin]) < rank) above += static_cast<int64_t>(bins[bin--]);
  return static_cast<uint32_t>(bin);
}

}  // namespace

KthMagnitude::KthMagnitude(int64_t n, int64_t k, bool sample) : n_(n), k_(k), samples_(sample && n >= kFew) {
  search(0, kMagnitudeBits);
}

void KthMagnitude::search(uint32_t low, uint32_t high) {
  low_ = low;
  high_ = high;
  shift_ = 0;
  while ((high - low) >> shift_ >= kBins) ++shift_;
  total_ = no_counts();
}

KthMagnitude::Counts KthMagnitude::no_counts() const {
  return {.bins = std::vector<uint64_t>(gathers_ ? 0 : ((high_ - low_) >> shift_) + 1)};
}

void KthMagnitude::count(std::span<const float> values, Counts& counts) const {
  counts.seen += static_cast<int64_t>(values.size());
  if (high_ == kMagnitudeBits && low_ == 0 && !gathers_) {
    for (const float value : values) ++counts.bins[(std::bit_cast<uint32_t>(value) & kMagnitudeBits) >> shift_];
    return;
  }
  const auto kept = static_cast<size_t>(gathers_ ? std::min(counts.gathered, kMostGathered) : 0);
  const size_t room = kept + values.size();
  if (counts.inside.size() < room)
    counts.inside.resize(std::max(room, std::min(2 * room, static_cast<size_t>(kMostGathered) + values.size())));
  const MagnitudeCounts found = count_magnitudes(values, low_, high_, counts.inside.data() + kept);
  counts.above += found.above;
  if (gathers_) {
    counts.gathered += found.inside;
    return;
  }
  for (int64_t i = 0; i < found.inside; ++i) ++counts.bins[(counts.inside[static_cast<size_t>(i)] - low_) >> shift_];
}

void KthMagnitude::take(const Counts& counts) {
  total_.seen += counts.seen;
  total_.above += counts.above;
  for (size_t i = 0; i < counts.bins.size(); ++i) total_.bins[i] += counts.bins[i];
  if (!gathers_) return;
  total_.gathered += counts.gathered > kMostGathered ? kMostTogether + 1 : counts.gathered;
  if (total_.gathered <= kMostTogether)
    total_.inside.insert(total_.inside.end(), counts.inside.begin(), counts.inside.begin() + counts.gathered);
}

void KthMagnitude::end_pass() {
  if (samples_) return end_sample();
  if (gathers_) return end_gathering();
  int64_t inside = 0;
  for (const uint64_t count : total_.bins) inside += static_cast<int64_t>(count);
  above_ = total_.above;
  if (above_ >= k_ || above_ + inside < k_) return search(0, kMagnitudeBits);  // the sample was wrong
  const uint32_t bin = bin_of(total_.bins, k_, above_);
  equal_ = static_cast<int64_t>(total_.bins[bin]);
  const uint32_t low = low_ + (bin << shift_);
  search(low, std::min(high_, low + ((1U << shift_) - 1)));
}

void KthMagnitude::end_sample() {
  samples_ = false;
  if (total_.seen == 0) return search(0, kMagnitudeBits);
  gathers_ = true;
  // Neighbours are alike, so that a sample of runs of them says less than as many drawn one by one.
  constexpr double kDeviations = 8;
  const double seen = static_cast<double>(total_.seen), share = static_cast<double>(k_) / static_cast<double>(n_),
               margin = kDeviations * (std::sqrt(share * (1 - share) * seen) + 1);
  const auto rank = [&](double wanted) { return static_cast<int64_t>(std::clamp(wanted, 1.0, seen)); };
  int64_t above = 0, below = 0;
  const uint32_t high = bin_of(total_.bins, rank(share * seen - margin), above),
                 low = bin_of(total_.bins, rank(share * seen + margin), below);
  const bool largest = share * seen <= margin, smallest = share * seen + margin >= seen;
  search(smallest ? 0 : low << shift_, largest ? kMagnitudeBits : (high << shift_) + ((1U << shift_) - 1));
}

void KthMagnitude::end_gathering() {
  gathers_ = false;
  if (total_.gathered > kMostTogether) return search(low_, high_);
  std::vector<uint32_t> bits = std::move(total_.inside);
  above_ = total_.above;
  const int64_t rank = k_ - above_;
  if (rank < 1 || rank > static_cast<int64_t>(bits.size())) return search(0, kMagnitudeBits);  // the sample was wrong
  std::ranges::nth_element(bits, bits.begin() + (rank - 1), std::greater());
  const uint32_t found = bits[static_cast<size_t>(rank - 1)];
  equal_ = std::ranges::count(bits, found);
  above_ += std::ranges::count_if(bits, [&](uint32_t other) { return other > found; });
  search(found, found);
}

}  // namespace taskvec::kernels
