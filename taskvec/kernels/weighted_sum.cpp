#include "taskvec/kernels/weighted_sum.h"

#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/simd.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/weighted_sum.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// sum[i] := (first ? 0 : sum[i]) + coefficient * x[i], product and sum rounded one after the other.
template <typename T>
HWY_INLINE void accumulate(T coefficient, const T* HWY_RESTRICT x, T* HWY_RESTRICT sum, size_t n, bool first) {
  const hn::ScalableTag<T> d;
  const auto c = hn::Set(d, coefficient);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto product = hn::Mul(c, hn::LoadU(d, x + i));
    hn::StoreU(first ? product : hn::Add(hn::LoadU(d, sum + i), product), d, sum + i);
  }
  for (; i < n; ++i) {
    const T product = coefficient * x[i];
    sum[i] = first ? product : sum[i] + product;
  }
}

void accumulate_f32(float coefficient, const float* x, float* sum, size_t n, bool first) {
  accumulate(coefficient, x, sum, n, first);
}
void accumulate_f64(double coefficient, const double* x, double* sum, size_t n, bool first) {
  accumulate(coefficient, x, sum, n, first);
}

/// bfloat16 is the upper half of a float32.
HWY_INLINE float from_bf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// As many elements as a vector of `d` holds.
template <typename DF>
HWY_INLINE hn::Vec<DF> load_bf16(DF d, const uint16_t* x) {
  if constexpr (sizeof(hn::TFromD<DF>) == sizeof(float)) {
    const auto bits = hn::PromoteTo(hn::RebindToUnsigned<DF>(), hn::LoadU(hn::Rebind<uint16_t, DF>(), x));
    return hn::BitCast(d, hn::ShiftLeft<16>(bits));
  } else {
    return hn::PromoteTo(d, load_bf16(hn::Rebind<float, DF>(), x));
  }
}

/// accumulate_bf16() for a number of addends that the compiler knows: it unrolls their loop and keeps coefficients in registers.
template <size_t kAddends, typename T>
void accumulate_some_bf16(const T* coefficients, const uint16_t* const* addends, T* HWY_RESTRICT sum, size_t n, bool first) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const uint16_t* x[kAddends];
  T c[kAddends];
  std::copy_n(addends, kAddends, x);
  std::copy_n(coefficients, kAddends, c);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto product = [&](size_t k) HWY_ATTR { return hn::Mul(hn::Set(d, c[k]), load_bf16(d, x[k] + i)); };
    auto total = product(0);
    if (!first) total = hn::Add(hn::LoadU(d, sum + i), total);
    for (size_t k = 1; k < kAddends; ++k) total = hn::Add(total, product(k));
    hn::StoreU(total, d, sum + i);
  }
  for (; i < n; ++i) {
    T total = c[0] * from_bf16(x[0][i]);
    if (!first) total = sum[i] + total;
    for (size_t k = 1; k < kAddends; ++k) {
      const T product = c[k] * from_bf16(x[k][i]);
      total = total + product;
    }
    sum[i] = total;
  }
}

/// The hot case without a detour through memory: the sum of several addends stays in a register. The order is the same: sum[i] :=
/// (first ? 0 : sum[i]) + coefficients[0] * x[0][i] + coefficients[1] * x[1][i] + ...
/// @param addends  1 to kTogether
template <typename T>
HWY_INLINE void accumulate_bf16(const T* coefficients, const uint16_t* const* x, size_t addends, T* sum, size_t n, bool first) {
  switch (addends) {
    case 1: return accumulate_some_bf16<1>(coefficients, x, sum, n, first);
    case 2: return accumulate_some_bf16<2>(coefficients, x, sum, n, first);
    case 3: return accumulate_some_bf16<3>(coefficients, x, sum, n, first);
    default: return accumulate_some_bf16<4>(coefficients, x, sum, n, first);
  }
}

void accumulate_bf16_f32(const float* coefficients, const uint16_t* const* x, size_t addends, float* sum, size_t n, bool first) {
  accumulate_bf16(coefficients, x, addends, sum, n, first);
}
void accumulate_bf16_f64(const double* coefficients, const uint16_t* const* x, size_t addends, double* sum, size_t n,
                         bool first) {
  accumulate_bf16(coefficients, x, addends, sum, n, first);
}

template <typename T>
HWY_INLINE T element(const std::byte* x, size_t i) {
  T value;
  std::memcpy(&value, x + i * sizeof(T), sizeof(T));
  return value;
}

/// out[i] := kept[i] where all sources hold the same bits, which are as wide as the output's.
template <typename T>
HWY_INLINE void keep_equal(const std::byte* const* x, size_t sources, size_t n, const std::byte* kept,
                           std::byte* HWY_RESTRICT out) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const auto load = [&](const std::byte* from, size_t at)
                        HWY_ATTR { return hn::LoadU(d, reinterpret_cast<const T*>(from + at * sizeof(T))); };
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto first = load(x[0], i);
    auto same = hn::Eq(first, load(x[1], i));
    for (size_t k = 2; k < sources; ++k) same = hn::And(same, hn::Eq(first, load(x[k], i)));
    hn::StoreU(hn::IfThenElse(same, load(kept, i), load(out, i)), d, reinterpret_cast<T*>(out + i * sizeof(T)));
  }
  for (; i < n; ++i) {
    const T first = element<T>(x[0], i);
    bool same = true;
    for (size_t k = 1; k < sources; ++k) same = same && element<T>(x[k], i) == first;
    if (same) std::memcpy(out + i * sizeof(T), kept + i * sizeof(T), sizeof(T));
  }
}

void keep_equal_8(const std::byte* const* x, size_t sources, size_t n, const std::byte* kept, std::byte* out) {
  keep_equal<uint8_t>(x, sources, n, kept, out);
}
void keep_equal_16(const std::byte* const* x, size_t sources, size_t n, const std::byte* kept, std::byte* out) {
  keep_equal<uint16_t>(x, sources, n, kept, out);
}
void keep_equal_32(const std::byte* const* x, size_t sources, size_t n, const std::byte* kept, std::byte* out) {
  keep_equal<uint32_t>(x, sources, n, kept, out);
}
void keep_equal_64(const std::byte* const* x, size_t sources, size_t n, const std::byte* kept, std::byte* out) {
  keep_equal<uint64_t>(x, sources, n, kept, out);
}

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace taskvec::kernels {
namespace {

HWY_EXPORT(accumulate_f32);
HWY_EXPORT(accumulate_f64);
HWY_EXPORT(accumulate_bf16_f32);
HWY_EXPORT(accumulate_bf16_f64);
HWY_EXPORT(keep_equal_8);
HWY_EXPORT(keep_equal_16);
HWY_EXPORT(keep_equal_32);
HWY_EXPORT(keep_equal_64);

constexpr size_t kTile = 4096;  // elements; sums and one decoded addend stay in the first-level cache

template <typename T>
std::span<std::byte> bytes_of(std::array<T, kTile>& values, size_t n) {
  return std::as_writable_bytes(std::span(values.data(), n));
}

bool aligned(const std::byte* data, size_t alignment) { return reinterpret_cast<uintptr_t>(data) % alignment == 0; }

constexpr size_t kTogether = 4;  // addends that accumulate_bf16() reads side by side

/// Adds the bfloat16 addends at the beginning of `addends`; returns how many there were.
template <typename T>
size_t accumulate_leading_bf16(std::span<const Addend> addends, size_t begin, size_t n, T* sum, bool first) {
  std::array<T, kTogether> coefficients;
  std::array<const uint16_t*, kTogether> x;
  size_t count = 0;
  while (count < std::min(kTogether, addends.size()) && addends[count].dtype == Dtype::BF16 && aligned(addends[count].data, 2)) {
    coefficients[count] = static_cast<T>(addends[count].coefficient);
    x[count] = reinterpret_cast<const uint16_t*>(addends[count].data) + begin;
    ++count;
  }
  if (count == 0) return 0;
  if constexpr (sizeof(T) == 4) {
    HWY_DYNAMIC_DISPATCH(accumulate_bf16_f32)(coefficients.data(), x.data(), count, sum, n, first);
  } else {
    HWY_DYNAMIC_DISPATCH(accumulate_bf16_f64)(coefficients.data(), x.data(), count, sum, n, first);
  }
  return count;
}

/// One tile with sums in T, which is the compute format.
template <typename T>
void tile(std::span<const Addend> addends, size_t begin, size_t n, Dtype to, std::byte* out) {
  constexpr Dtype kCompute = sizeof(T) == 8 ? Dtype::F64 : Dtype::F32;
  alignas(64) std::array<T, kTile> sum, decoded;
  if (addends.empty()) std::fill_n(sum.begin(), n, T{0});
  for (size_t k = 0; k < addends.size();) {
    if (const size_t count = accumulate_leading_bf16(addends.subspan(k), begin, n, sum.data(), k == 0); count > 0) {
      k += count;
      continue;
    }
    const Addend& addend = addends[k];
    const size_t item = static_cast<size_t>(itemsize(addend.dtype));
    const T coefficient = static_cast<T>(addend.coefficient);
    convert(addend.dtype, {addend.data + begin * item, n * item}, kCompute, bytes_of(decoded, n));
    if constexpr (sizeof(T) == 4) {
      HWY_DYNAMIC_DISPATCH(accumulate_f32)(coefficient, decoded.data(), sum.data(), n, k == 0);
    } else {
      HWY_DYNAMIC_DISPATCH(accumulate_f64)(coefficient, decoded.data(), sum.data(), n, k == 0);
    }
    ++k;
  }
  convert(kCompute, bytes_of(sum, n), to,
          {out + begin * static_cast<size_t>(itemsize(to)), n * static_cast<size_t>(itemsize(to))});
}

constexpr size_t kMaxCompared = 64;  // sources; equal elements of more of them are computed like all others

/// Whether equal elements stay what they are: the coefficients sum to 1, and all sources have one dtype.
bool keeps_equal_elements(std::span<const Addend> addends) {
  if (addends.size() < 2 || addends.size() > kMaxCompared) return false;
  double sum = 0;
  for (const Addend& addend : addends) {
    if (addend.dtype != addends[0].dtype) return false;
    sum += addend.coefficient;
  }
  return std::abs(sum - 1) <= 1e-12;
}

void keep_equal_elements(std::span<const Addend> addends, size_t begin, size_t n, Dtype to, std::byte* out) {
  const auto from_size = static_cast<size_t>(itemsize(addends[0].dtype)), to_size = static_cast<size_t>(itemsize(to));
  std::array<const std::byte*, kMaxCompared> x;
  for (size_t k = 0; k < addends.size(); ++k) x[k] = addends[k].data + begin * from_size;
  out += begin * to_size;
  const size_t count = addends.size();
  std::array<std::byte, kTile * sizeof(double)> converted;
  const std::byte* kept = x[0];
  if (addends[0].dtype != to) {
    convert(addends[0].dtype, {x[0], n * from_size}, to, std::span(converted.data(), n * to_size));
    kept = converted.data();
  }
  if (from_size != to_size) {
    for (size_t i = 0; i < n; ++i) {
      bool same = true;
      for (size_t k = 1; k < count && same; ++k) same = std::memcmp(x[k] + i * from_size, x[0] + i * from_size, from_size) == 0;
      if (same) std::memcpy(out + i * to_size, kept + i * to_size, to_size);
    }
    return;
  }
  switch (to_size) {
    case 1: return HWY_DYNAMIC_DISPATCH(keep_equal_8)(x.data(), count, n, kept, out);
    case 2: return HWY_DYNAMIC_DISPATCH(keep_equal_16)(x.data(), count, n, kept, out);
    case 4: return HWY_DYNAMIC_DISPATCH(keep_equal_32)(x.data(), count, n, kept, out);
    default: return HWY_DYNAMIC_DISPATCH(keep_equal_64)(x.data(), count, n, kept, out);
  }
}

}  // namespace

void weighted_sum(std::span<const Addend> addends, int64_t n, Dtype to, std::byte* out) {
  use_simd_level();
  bool wide = compute_dtype(to) == Dtype::F64;
  for (const Addend& addend : addends) wide = wide || compute_dtype(addend.dtype) == Dtype::F64;
  const bool keep = keeps_equal_elements(addends);
  for (size_t begin = 0; begin < static_cast<size_t>(n); begin += kTile) {
    const size_t size = std::min(kTile, static_cast<size_t>(n) - begin);
    wide ? tile<double>(addends, begin, size, to, out) : tile<float>(addends, begin, size, to, out);
    if (keep) keep_equal_elements(addends, begin, size, to, out);
  }
}

}  // namespace taskvec::kernels
#endif
