#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace taskvec {

/// Counter-based random numbers, Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
/// A value is a function of (seed, stream, index) alone, so no result depends on thread count or order.
class Philox {
 public:
  Philox(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  /// A stream of its own for a named thing, e.g. a tensor.
  Philox(uint64_t seed, std::string_view stream_name);

  std::array<uint32_t, 4> block(uint64_t index) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(uint64_t index) const;
  /// Standard normal (Box-Muller on one block).
  double normal(uint64_t index) const;
  /// Uniform integer in [0, bound), without modulo bias worth speaking of (64-bit multiply-shift). bound > 0.
  uint64_t below(uint64_t index, uint64_t bound) const;

 private:
  uint64_t seed_, stream_;
};

}  // namespace taskvec
