#include "taskvec/kernels/statistics.h"

#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/simd.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/statistics.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level, what is between the guards once for all.
#include <hwy/highway.h>

#ifndef TASKVEC_KERNELS_STATISTICS_ONCE
#define TASKVEC_KERNELS_STATISTICS_ONCE
namespace taskvec::kernels {

/// Element i is added to partial sum i mod kSums, on every SIMD level: as many as the widest vector has float64 lanes.
inline constexpr size_t kSums = 8;

struct PartialSums {
  using Sums = std::array<double, kSums>;
  alignas(64) Sums abs{}, aa{}, bb{}, ab{}, squares{}, max{};
  int64_t differing = 0;
};

struct ResidualSums {
  alignas(64) PartialSums::Sums error{}, norm{};
};

struct MagnitudeSums {
  alignas(64) PartialSums::Sums abs{}, squares{};
};

}  // namespace taskvec::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, kSums>;
using V = hn::Vec<D>;

/// Adds n elements, a multiple of kSums, unless one of them is not finite: then it returns false and leaves the sums as they are.
/// @param by_bits  elements differ where their bits do; otherwise where their values do
bool add_finite(const double* HWY_RESTRICT x, const double* HWY_RESTRICT y, size_t n, bool by_bits, PartialSums& total) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  PartialSums sums = total;
  auto differing = hn::Zero(du);
  auto finite = hn::FirstN(d, kSums);
  for (size_t lane = 0; lane < kSums; lane += hn::Lanes(d)) {  // a vector of the partial sums after the other
    V aa = hn::Load(d, &sums.aa[lane]), bb = hn::Load(d, &sums.bb[lane]), ab = hn::Load(d, &sums.ab[lane]),
      squares = hn::Load(d, &sums.squares[lane]), abs = hn::Load(d, &sums.abs[lane]), max = hn::Load(d, &sums.max[lane]);
    for (size_t i = lane; i < n; i += kSums) {
      const V a = hn::Load(d, x + i), b = hn::Load(d, y + i), gap = hn::Sub(b, a), size = hn::Abs(gap);
      finite = hn::And(finite, hn::And(hn::IsFinite(a), hn::IsFinite(b)));
      aa = hn::Add(aa, hn::Mul(a, a));
      bb = hn::Add(bb, hn::Mul(b, b));
      ab = hn::Add(ab, hn::Mul(a, b));
      squares = hn::Add(squares, hn::Mul(gap, gap));
      abs = hn::Add(abs, size);
      max = hn::Max(max, size);
      const auto same = by_bits ? hn::Eq(hn::BitCast(du, a), hn::BitCast(du, b)) : hn::RebindMask(du, hn::Eq(a, b));
      differing = hn::Add(differing, hn::IfThenElse(same, hn::Zero(du), hn::Set(du, 1)));
    }
    hn::Store(aa, d, &sums.aa[lane]);
    hn::Store(bb, d, &sums.bb[lane]);
    hn::Store(ab, d, &sums.ab[lane]);
    hn::Store(squares, d, &sums.squares[lane]);
    hn::Store(abs, d, &sums.abs[lane]);
    hn::Store(max, d, &sums.max[lane]);
  }
  if (!hn::AllTrue(d, finite)) return false;
  alignas(64) std::array<uint64_t, kSums> counts{};
  hn::Store(differing, du, counts.data());
  for (const uint64_t count : counts) sums.differing += static_cast<int64_t>(count);
  total = sums;
  return true;
}

/// Adds n elements, a multiple of kSums, of which load(x, i) gives a vector in float64.
template <typename T, typename Load>
HWY_INLINE void add_residuals(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, const T* HWY_RESTRICT stored, size_t n,
                              const Load& load, ResidualSums& sums) {
  const D d;
  for (size_t lane = 0; lane < kSums; lane += hn::Lanes(d)) {
    V error = hn::Load(d, &sums.error[lane]), norm = hn::Load(d, &sums.norm[lane]);
    for (size_t i = lane; i < n; i += kSums) {
      const V exact = hn::Sub(load(a + i), load(b + i)), gap = hn::Sub(load(stored + i), exact);
      error = hn::Add(error, hn::Mul(gap, gap));
      norm = hn::Add(norm, hn::Mul(exact, exact));
    }
    hn::Store(error, d, &sums.error[lane]);
    hn::Store(norm, d, &sums.norm[lane]);
  }
}

void add_residuals_f64(const double* a, const double* b, const double* stored, size_t n, ResidualSums& sums) {
  add_residuals(
      a, b, stored, n, [](const double* x) HWY_ATTR { return hn::Load(D(), x); }, sums);
}

/// The hot case without a detour through memory.
void add_residuals_bf16(const uint16_t* a, const uint16_t* b, const uint16_t* stored, size_t n, ResidualSums& sums) {
  const auto load = [](const uint16_t* x) HWY_ATTR {
    const hn::Rebind<uint32_t, D> d32;
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(hn::Rebind<uint16_t, D>(), x)));
    return hn::PromoteTo(D(), hn::BitCast(hn::Rebind<float, D>(), bits));
  };
  add_residuals(a, b, stored, n, load, sums);
}

/// Adds n elements, a multiple of kSums.
void add_magnitudes(const double* HWY_RESTRICT x, size_t n, MagnitudeSums& sums) {
  const D d;
  for (size_t lane = 0; lane < kSums; lane += hn::Lanes(d)) {
    V abs = hn::Load(d, &sums.abs[lane]), squares = hn::Load(d, &sums.squares[lane]);
    for (size_t i = lane; i < n; i += kSums) {
      const V value = hn::LoadU(d, x + i);
      abs = hn::Add(abs, hn::Abs(value));
      squares = hn::Add(squares, hn::Mul(value, value));
    }
    hn::Store(abs, d, &sums.abs[lane]);
    hn::Store(squares, d, &sums.squares[lane]);
  }
}

/// n: a multiple of 8.
void pack_negative(const double* HWY_RESTRICT x, size_t n, uint8_t* HWY_RESTRICT bits) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += 8) {
    uint32_t packed = 0;
    for (size_t lane = 0; lane < 8; lane += lanes) {
      std::array<uint8_t, 8> part{};
      hn::StoreMaskBits(d, hn::Lt(hn::LoadU(d, x + i + lane), hn::Zero(d)), part.data());
      packed |= uint32_t{part[0]} << lane;
    }
    bits[i / 8] = static_cast<uint8_t>(packed);
  }
}

void count_above_equal(const uint32_t* HWY_RESTRICT x, size_t n, uint32_t threshold, size_t& above, size_t& equal) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d), whole = n / lanes * lanes;
  const auto bound = hn::Set(d, threshold);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto values = hn::LoadU(d, x + i);
    above += hn::CountTrue(d, hn::Gt(values, bound));
    equal += hn::CountTrue(d, hn::Eq(values, bound));
  }
  for (size_t i = whole; i < n; ++i) {
    above += x[i] > threshold ? 1 : 0;
    equal += x[i] == threshold ? 1 : 0;
  }
}

/// Elements whose exponent is all ones.
template <typename Bits>
HWY_INLINE size_t count_full_exponents(const Bits* HWY_RESTRICT data, size_t n, Bits exponent) {
  const hn::ScalableTag<Bits> d;
  const size_t lanes = hn::Lanes(d), whole = n / lanes * lanes;
  const auto full = hn::Set(d, exponent);
  size_t count = 0;
  for (size_t i = 0; i < whole; i += lanes) count += hn::CountTrue(d, hn::Eq(hn::And(hn::LoadU(d, data + i), full), full));
  for (size_t i = whole; i < n; ++i) count += (data[i] & exponent) == exponent ? 1 : 0;
  return count;
}

size_t count_full16(const uint16_t* data, size_t n, uint16_t exponent) { return count_full_exponents(data, n, exponent); }
size_t count_full32(const uint32_t* data, size_t n, uint32_t exponent) { return count_full_exponents(data, n, exponent); }
size_t count_full64(const uint64_t* data, size_t n, uint64_t exponent) { return count_full_exponents(data, n, exponent); }

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace taskvec::kernels {
namespace {

HWY_EXPORT(add_finite);
HWY_EXPORT(add_residuals_f64);
HWY_EXPORT(add_residuals_bf16);
HWY_EXPORT(add_magnitudes);
HWY_EXPORT(pack_negative);
HWY_EXPORT(count_above_equal);
HWY_EXPORT(count_full16);
HWY_EXPORT(count_full32);
HWY_EXPORT(count_full64);

constexpr size_t kTile = 1024;  // elements; both sides as float64 stay in the first-level cache

/// Elements of one side as float64, zero where a tile ends before a multiple of kSums.
class Tile {
 public:
  void load(Dtype dtype, const std::byte* data, size_t begin, size_t n) {
    const auto item = static_cast<size_t>(itemsize(dtype));
    convert(dtype, {data + begin * item, n * item}, Dtype::F64, std::as_writable_bytes(std::span(values_.data(), n)));
    for (; n % kSums != 0; ++n) values_[n] = 0;
  }
  double operator[](size_t i) const { return values_[i]; }
  const double* data() const { return values_.data(); }

 private:
  alignas(64) std::array<double, kTile> values_;
};

/// The same as add_finite() for any elements. Equal bits are equal values, NaN and infinity included: they add no difference.
/// @param differ  whether element i differs
template <typename Differ>
void add_any(const Tile& x, const Tile& y, size_t n, const Differ& differ, PartialSums& sums, int64_t& non_finite) {
  for (size_t i = 0; i < n; ++i) {
    const size_t lane = i % kSums;
    non_finite += std::isfinite(x[i]) && std::isfinite(y[i]) ? 0 : 1;
    sums.aa[lane] += x[i] * x[i];
    sums.bb[lane] += y[i] * y[i];
    sums.ab[lane] += x[i] * y[i];
    if (!differ(i)) continue;
    ++sums.differing;
    const double size = std::abs(y[i] - x[i]);
    sums.abs[lane] += size;
    sums.squares[lane] += size * size;
    if (std::isnan(size) || size > sums.max[lane]) sums.max[lane] = size;  // NaN wins and stays
  }
}

/// The larger one; NaN where one of them is.
double wider(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::max(a, b);
}

/// Halves of the partial sums are added to each other until one is left.
template <typename Add>
double fold(PartialSums::Sums sums, const Add& add) {
  for (size_t half = kSums / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) sums[i] = add(sums[i], sums[i + half]);
  return sums[0];
}

/// count(elements, n, exponent), by way of memory of our own where the elements are not aligned.
template <typename Bits, typename Count>
int64_t count_aligned(const Count& count, const std::byte* data, int64_t elements, Bits exponent) {
  const auto n = static_cast<size_t>(elements);
  if (reinterpret_cast<uintptr_t>(data) % sizeof(Bits) == 0)
    return static_cast<int64_t>(count(reinterpret_cast<const Bits*>(data), n, exponent));
  std::array<Bits, kTile> block;
  size_t total = 0;
  for (size_t begin = 0; begin < n; begin += kTile) {
    const size_t size = std::min(kTile, n - begin);
    std::memcpy(block.data(), data + begin * sizeof(Bits), size * sizeof(Bits));
    total += count(block.data(), size, exponent);
  }
  return static_cast<int64_t>(total);
}

bool aligned(const std::byte* data) { return reinterpret_cast<uintptr_t>(data) % sizeof(uint16_t) == 0; }

}  // namespace

void Difference::merge(const Difference& other) {
  n += other.n;
  differing += other.differing;
  max_abs = wider(max_abs, other.max_abs);
  sum_abs += other.sum_abs;
  dot_aa += other.dot_aa;
  dot_bb += other.dot_bb;
  dot_ab += other.dot_ab;
  sum_squares += other.sum_squares;
  non_finite += other.non_finite;
}

Difference difference(Dtype dtype_a, const std::byte* a, Dtype dtype_b, const std::byte* b, int64_t n) {
  use_simd_level();
  Difference result;
  result.n = n;
  const auto count = static_cast<size_t>(n);
  const auto item = static_cast<size_t>(itemsize(dtype_a));
  const bool by_bits = dtype_a == dtype_b;
  PartialSums sums;
  Tile x, y;
  for (size_t begin = 0; begin < count; begin += kTile) {
    const size_t size = std::min(kTile, count - begin), padded = (size + kSums - 1) / kSums * kSums;
    x.load(dtype_a, a, begin, size);
    y.load(dtype_b, b, begin, size);
    if (HWY_DYNAMIC_DISPATCH(add_finite)(x.data(), y.data(), padded, by_bits, sums)) continue;
    const auto differ = [&](size_t i) {
      return by_bits ? std::memcmp(a + (begin + i) * item, b + (begin + i) * item, item) != 0 : x[i] != y[i];
    };
    add_any(x, y, size, differ, sums, result.non_finite);
  }
  const std::plus<double> plus;
  result.differing = sums.differing;
  result.max_abs = fold(sums.max, wider);
  result.sum_abs = fold(sums.abs, plus);
  result.dot_aa = fold(sums.aa, plus);
  result.dot_bb = fold(sums.bb, plus);
  result.dot_ab = fold(sums.ab, plus);
  result.sum_squares = fold(sums.squares, plus);
  return result;
}

Residual residual(Dtype dtype_a, const std::byte* a, Dtype dtype_b, const std::byte* b, Dtype dtype_stored,
                  const std::byte* stored, int64_t n) {
  use_simd_level();
  const auto count = static_cast<size_t>(n);
  ResidualSums sums;
  size_t begin = 0;
  const bool all_bf16 = dtype_a == Dtype::BF16 && dtype_b == Dtype::BF16 && dtype_stored == Dtype::BF16;
  if (all_bf16 && aligned(a) && aligned(b) && aligned(stored)) {
    const auto elements = [](const std::byte* data) { return reinterpret_cast<const uint16_t*>(data); };
    begin = count / kSums * kSums;
    HWY_DYNAMIC_DISPATCH(add_residuals_bf16)(elements(a), elements(b), elements(stored), begin, sums);
  }
  Tile x, y, z;
  for (; begin < count; begin += kTile) {
    const size_t size = std::min(kTile, count - begin), padded = (size + kSums - 1) / kSums * kSums;
    x.load(dtype_a, a, begin, size);
    y.load(dtype_b, b, begin, size);
    z.load(dtype_stored, stored, begin, size);
    HWY_DYNAMIC_DISPATCH(add_residuals_f64)(x.data(), y.data(), z.data(), padded, sums);
  }
  const std::plus<double> plus;
  return {.error = fold(sums.error, plus), .norm = fold(sums.norm, plus)};
}

Magnitudes magnitudes(std::span<const double> values) {
  use_simd_level();
  const size_t whole = values.size() / kSums * kSums;
  MagnitudeSums sums;
  HWY_DYNAMIC_DISPATCH(add_magnitudes)(values.data(), whole, sums);
  std::array<double, kSums> rest{};
  std::ranges::copy(values.subspan(whole), rest.begin());
  HWY_DYNAMIC_DISPATCH(add_magnitudes)(rest.data(), kSums, sums);
  const std::plus<double> plus;
  return {.sum_abs = fold(sums.abs, plus), .sum_squares = fold(sums.squares, plus)};
}

void negative_bits(std::span<const double> values, std::span<std::byte> bits) {
  use_simd_level();
  const size_t whole = values.size() / 8 * 8;
  auto* bytes = reinterpret_cast<uint8_t*>(bits.data());
  HWY_DYNAMIC_DISPATCH(pack_negative)(values.data(), whole, bytes);
  if (whole == values.size()) return;
  std::array<double, 8> rest{};
  std::ranges::copy(values.subspan(whole), rest.begin());
  HWY_DYNAMIC_DISPATCH(pack_negative)(rest.data(), 8, bytes + whole / 8);
}

std::pair<int64_t, int64_t> count_above_and_equal(std::span<const uint32_t> values, uint32_t threshold) {
  use_simd_level();
  size_t above = 0, equal = 0;
  HWY_DYNAMIC_DISPATCH(count_above_equal)(values.data(), values.size(), threshold, above, equal);
  return {static_cast<int64_t>(above), static_cast<int64_t>(equal)};
}

int64_t count_non_finite(Dtype dtype, const std::byte* data, int64_t n) {
  use_simd_level();
  switch (dtype) {
    case Dtype::BF16: return count_aligned<uint16_t>(HWY_DYNAMIC_DISPATCH(count_full16), data, n, 0x7F80);
    case Dtype::F16: return count_aligned<uint16_t>(HWY_DYNAMIC_DISPATCH(count_full16), data, n, 0x7C00);
    case Dtype::F32: return count_aligned<uint32_t>(HWY_DYNAMIC_DISPATCH(count_full32), data, n, 0x7F800000);
    case Dtype::F64: return count_aligned<uint64_t>(HWY_DYNAMIC_DISPATCH(count_full64), data, n, 0x7FF0000000000000);
    default: break;
  }
  int64_t count = 0;
  Tile tile;
  for (size_t begin = 0; begin < static_cast<size_t>(n); begin += kTile) {
    const size_t size = std::min(kTile, static_cast<size_t>(n) - begin);
    tile.load(dtype, data, begin, size);
    for (size_t i = 0; i < size; ++i) count += std::isfinite(tile[i]) ? 0 : 1;
  }
  return count;
}

}  // namespace taskvec::kernels
#endif
