#include "taskvec/kernels/count_magnitudes.h"

#include "taskvec/kernels/simd.h"

#include <algorithm>
#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/count_magnitudes.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using U = hn::ScalableTag<int32_t>;  // magnitudes have no sign bit, and every level compares these

MagnitudeCounts count(const float* HWY_RESTRICT values, size_t n, uint32_t low, uint32_t high, uint32_t* HWY_RESTRICT inside) {
  const U d;
  const auto mask = hn::Set(d, static_cast<int32_t>(kMagnitudeBits)), from = hn::Set(d, static_cast<int32_t>(low)),
             to = hn::Set(d, static_cast<int32_t>(high));
  MagnitudeCounts counts;
  size_t i = 0;
  const auto* bits = reinterpret_cast<const int32_t*>(values);
  auto* gathered = reinterpret_cast<int32_t*>(inside);
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto x = hn::And(hn::LoadU(d, bits + i), mask);
    const auto larger = hn::Gt(x, to), candidate = hn::Not(hn::Or(larger, hn::Lt(x, from)));
    counts.above += static_cast<int64_t>(hn::CountTrue(d, larger));
    if (hn::AllFalse(d, candidate)) continue;
    hn::StoreU(hn::Compress(x, candidate), d, gathered + counts.inside);  // some CPUs are slow to compress into memory
    counts.inside += static_cast<int64_t>(hn::CountTrue(d, candidate));
  }
  for (; i < n; ++i) {
    const uint32_t x = static_cast<uint32_t>(bits[i]) & kMagnitudeBits;
    counts.above += x > high ? 1 : 0;
    if (x >= low && x <= high) inside[counts.inside++] = x;
  }
  return counts;
}

int64_t count_equal(const float* HWY_RESTRICT values, size_t n, uint32_t wanted) {
  const U d;
  const auto mask = hn::Set(d, static_cast<int32_t>(kMagnitudeBits)), equal = hn::Set(d, static_cast<int32_t>(wanted));
  const auto* bits = reinterpret_cast<const int32_t*>(values);
  int64_t count = 0;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    count += static_cast<int64_t>(hn::CountTrue(d, hn::Eq(hn::And(hn::LoadU(d, bits + i), mask), equal)));
  for (; i < n; ++i) count += (static_cast<uint32_t>(bits[i]) & kMagnitudeBits) == wanted ? 1 : 0;
  return count;
}

/// The differences of two rows of bfloat16, which are float32's upper halves.
void subtract(const uint16_t* HWY_RESTRICT a, const uint16_t* HWY_RESTRICT b, size_t n, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> d32;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const auto load = [&](const uint16_t* x)
                        HWY_ATTR { return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, x)))); };
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) hn::StoreU(hn::Sub(load(a + i), load(b + i)), d, out + i);
  for (; i < n; ++i)
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(a[i]) << 16) - std::bit_cast<float>(static_cast<uint32_t>(b[i]) << 16);
}

void keep(const float* HWY_RESTRICT values, size_t n, uint32_t least, float* HWY_RESTRICT out) {
  const U d;
  const auto mask = hn::Set(d, static_cast<int32_t>(kMagnitudeBits)), from = hn::Set(d, static_cast<int32_t>(least));
  const auto* bits = reinterpret_cast<const int32_t*>(values);
  auto* kept = reinterpret_cast<int32_t*>(out);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, bits + i);
    hn::StoreU(hn::IfThenZeroElse(hn::Lt(hn::And(x, mask), from), x), d, kept + i);
  }
  for (; i < n; ++i) kept[i] = (static_cast<uint32_t>(bits[i]) & kMagnitudeBits) >= least ? bits[i] : 0;
}

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace taskvec::kernels {

HWY_EXPORT(count);
HWY_EXPORT(keep);
HWY_EXPORT(count_equal);
HWY_EXPORT(subtract);

MagnitudeCounts count_magnitudes(std::span<const float> values, uint32_t low, uint32_t high, uint32_t* inside) {
  use_simd_level();
  return HWY_DYNAMIC_DISPATCH(count)(values.data(), values.size(), low, high, inside);
}

int64_t count_magnitude(std::span<const float> values, uint32_t bits) {
  use_simd_level();
  return HWY_DYNAMIC_DISPATCH(count_equal)(values.data(), values.size(), bits);
}

void subtract_bf16(const std::byte* a, const std::byte* b, std::span<float> out) {
  use_simd_level();
  HWY_DYNAMIC_DISPATCH(subtract)
  (reinterpret_cast<const uint16_t*>(a), reinterpret_cast<const uint16_t*>(b), out.size(), out.data());
}

void keep_magnitudes(std::span<const float> values, uint32_t least, float* out) {
  use_simd_level();
  if (least > kMagnitudeBits) {
    std::fill_n(out, values.size(), 0.0F);
    return;
  }
  HWY_DYNAMIC_DISPATCH(keep)(values.data(), values.size(), least, out);
}

}  // namespace taskvec::kernels
#endif
