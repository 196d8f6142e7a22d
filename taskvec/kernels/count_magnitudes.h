#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace taskvec::kernels {

/// The bits of a float32's magnitude, which are ordered as magnitudes are; a NaN's are larger than any other's.
inline constexpr uint32_t kMagnitudeBits = 0x7FFF'FFFF;

/// Counts values whose magnitude's bits are more than `high`, and gathers the bits of those from `low` to `high`.
/// @param inside  has room for as many as there are values
/// @return {more than high, gathered}
struct MagnitudeCounts {
  int64_t above = 0, inside = 0;
};
MagnitudeCounts count_magnitudes(std::span<const float> values, uint32_t low, uint32_t high, uint32_t* inside);

/// How many values have a magnitude of these bits.
int64_t count_magnitude(std::span<const float> values, uint32_t bits);

/// Values whose magnitude's bits are at least `least`; zeros for the others.
void keep_magnitudes(std::span<const float> values, uint32_t least, float* out);

/// a - b of two rows of BF16 elements, rounded once: what weighted_sum() gives, without a detour through float64.
void subtract_bf16(const std::byte* a, const std::byte* b, std::span<float> out);

}  // namespace taskvec::kernels
