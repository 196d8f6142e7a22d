#include "taskvec/kernels/convert.h"

#include "taskvec/core/error.h"
#include "taskvec/kernels/simd.h"
#include "taskvec/kernels/small_float.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "taskvec/kernels/convert.cpp"
#include <hwy/foreach_target.h>
// The order matters: what follows is compiled once for every SIMD level.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace taskvec::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Unsigned = hn::RebindToUnsigned<D>;

/// binary32 or binary64, whichever a vector's lanes are.
template <typename T>
struct Ieee {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static constexpr int kMantissaBits = sizeof(T) == 4 ? 23 : 52, kBias = sizeof(T) == 4 ? 127 : 1023;
  static constexpr Bits kSign = Bits{1} << (8 * sizeof(T) - 1);
  static constexpr Bits kInfinity = Bits{2 * kBias + 1} << kMantissaBits;
  static constexpr Bits kNan = kInfinity | Bits{1} << (kMantissaBits - 1);  // quiet, no sign, no payload
  static constexpr Bits power_of_two(int exponent) { return static_cast<Bits>(exponent + kBias) << kMantissaBits; }
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE V quiet(D d, V value) {
  return hn::IfThenElse(hn::IsNaN(value), hn::BitCast(d, hn::Set(Unsigned<D>(), Ieee<hn::TFromD<D>>::kNan)), value);
}

/// Small floats, one in each lane of 32 bits, as float32: exact. NaN payloads may stay.
template <SmallFloat F, class D, class U = hn::Vec<Unsigned<D>>>
HWY_INLINE hn::Vec<D> decode(D d, U bits) {
  using Wide = Ieee<float>;
  const Unsigned<D> du;
  constexpr int kShift = Wide::kMantissaBits - F.mantissa_bits;
  if constexpr (F.bias() == Wide::kBias) return hn::BitCast(d, hn::ShiftLeft<kShift>(bits));  // bfloat16 is the upper half
  const auto magnitude = hn::And(bits, hn::Set(du, F.sign_bit() - 1));
  const auto sign = hn::ShiftLeft<32 - F.bits()>(hn::AndNot(hn::Set(du, F.sign_bit() - 1), bits));
  const auto normal = hn::Add(hn::ShiftLeft<kShift>(magnitude), hn::Set(du, Wide::power_of_two(-F.bias())));
  // A subnormal's mantissa, put behind the implicit bit of the smallest normal number, is too large by that bit.
  const auto one = hn::Set(du, Wide::power_of_two(1 - F.bias()));
  const auto subnormal = hn::Sub(hn::BitCast(d, hn::Add(hn::ShiftLeft<kShift>(magnitude), one)), hn::BitCast(d, one));
  auto value = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 1U << F.mantissa_bits)), hn::BitCast(du, subnormal), normal);
  const auto special = hn::Gt(magnitude, hn::Set(du, F.largest()));
  const auto infinite = hn::And(special, hn::Eq(magnitude, hn::Set(du, F.infinity())));
  value = hn::IfThenElse(special, hn::Set(du, Wide::kNan), value);
  if constexpr (F.has_infinity) value = hn::IfThenElse(infinite, hn::Set(du, Wide::kInfinity), value);
  return hn::BitCast(d, hn::Or(value, sign));
}

/// float32 or float64 as small floats in lanes of the same width: nearest-even, in one rounding.
template <SmallFloat F, class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<Unsigned<D>> encode(D d, V value) {
  using Wide = Ieee<hn::TFromD<D>>;
  using Bits = typename Wide::Bits;
  const Unsigned<D> du;
  constexpr int kShift = Wide::kMantissaBits - F.mantissa_bits;  // low bits of the mantissa that go
  const auto bits = hn::BitCast(du, value);
  const auto magnitude = hn::And(bits, hn::Set(du, Wide::kSign - 1));
  const auto sign = hn::ShiftRight<static_cast<int>(8 * sizeof(Bits)) - F.bits()>(hn::And(bits, hn::Set(du, Wide::kSign)));
  // Just below half of the last place, and one more where that place is odd; a carry bumps the exponent by itself.
  const auto odd = hn::And(hn::ShiftRight<kShift>(magnitude), hn::Set(du, Bits{1}));
  constexpr Bits kRebias = static_cast<Bits>(Wide::kBias - F.bias()) << Wide::kMantissaBits;
  constexpr Bits kHalf = (Bits{1} << (kShift - 1)) - 1;
  auto result = hn::ShiftRight<kShift>(hn::Add(hn::Add(magnitude, odd), hn::Set(du, static_cast<Bits>(kHalf - kRebias))));
  if constexpr (F.bias() != Wide::kBias) {
    // Below the smallest normal number the last place has a fixed weight: adding a number with that last place rounds there.
    const auto grid = hn::Set(du, Wide::power_of_two(1 - F.bias() - F.mantissa_bits + Wide::kMantissaBits));
    const auto sum = hn::Add(hn::BitCast(d, magnitude), hn::BitCast(d, grid));
    const auto small = hn::Lt(magnitude, hn::Set(du, Wide::power_of_two(1 - F.bias())));
    result = hn::IfThenElse(small, hn::Sub(hn::BitCast(du, sum), grid), result);
  }
  result = hn::Or(hn::Min(result, hn::Set(du, Bits{F.overflow()})), sign);
  return hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, Wide::kInfinity)), hn::Set(du, Bits{F.nan()}), result);
}

/// How elements of a dtype are read into lanes of a float vector, and written from one.
template <typename T>
struct Plain {
  using Element = T;
  template <class D>
  static HWY_INLINE hn::Vec<D> read(D d, const T* data) {
    const hn::Rebind<T, D> own;
    const auto value = hn::LoadU(own, data);
    if constexpr (sizeof(hn::TFromD<D>) > sizeof(T)) {
      return hn::PromoteTo(d, value);
    } else {
      return value;
    }
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE void write(D d, V value, T* data) {
    const hn::Rebind<T, D> own;
    if constexpr (sizeof(hn::TFromD<D>) == sizeof(T)) {
      hn::StoreU(quiet(d, value), own, data);
    } else if constexpr (HWY_TARGET == HWY_SCALAR) {  // whose DemoteTo() clamps to the largest finite value
      hn::StoreU(quiet(own, hn::Set(own, static_cast<T>(hn::GetLane(value)))), own, data);
    } else {
      hn::StoreU(quiet(own, hn::DemoteTo(own, value)), own, data);
    }
  }
};

template <SmallFloat F>
struct Small {
  using Element = std::conditional_t<F.bits() == 8, uint8_t, uint16_t>;
  template <class D>
  static HWY_INLINE hn::Vec<D> read(D d, const Element* data) {
    const hn::Rebind<float, D> narrow;
    const auto bits = hn::PromoteTo(Unsigned<decltype(narrow)>(), hn::LoadU(hn::Rebind<Element, D>(), data));
    const auto value = decode<F>(narrow, bits);
    if constexpr (sizeof(hn::TFromD<D>) == sizeof(double)) {
      return hn::PromoteTo(d, value);
    } else {
      return value;
    }
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE void write(D d, V value, Element* data) {
    const hn::Rebind<Element, D> own;
    hn::StoreU(hn::TruncateTo(own, encode<F>(d, value)), own, data);
  }
};

template <class From, class To>
void convert_all(const void* source, void* destination, size_t n) {
  // Lanes of float32, which holds every value of the narrower formats, unless one side is float64.
  constexpr bool kWide = sizeof(typename From::Element) == sizeof(double) || sizeof(typename To::Element) == sizeof(double);
  const hn::ScalableTag<std::conditional_t<kWide, double, float>> d;
  const auto* from = static_cast<const typename From::Element*>(source);
  auto* to = static_cast<typename To::Element*>(destination);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) To::write(d, From::read(d, from + i), to + i);
}

template <class From>
void convert_from(const void* source, Dtype to, void* destination, size_t n) {
  switch (to) {
    case Dtype::F64: return convert_all<From, Plain<double>>(source, destination, n);
    case Dtype::F32: return convert_all<From, Plain<float>>(source, destination, n);
    case Dtype::F16: return convert_all<From, Small<kF16>>(source, destination, n);
    case Dtype::BF16: return convert_all<From, Small<kBf16>>(source, destination, n);
    case Dtype::F8_E4M3: return convert_all<From, Small<kE4m3>>(source, destination, n);
    default: return convert_all<From, Small<kE5m2>>(source, destination, n);
  }
}

/// @param n  a multiple of kMostLanes; both sides are aligned to their elements
void convert_lanes(Dtype from, const void* source, Dtype to, void* destination, size_t n) {
  switch (from) {
    case Dtype::F64: return convert_from<Plain<double>>(source, to, destination, n);
    case Dtype::F32: return convert_from<Plain<float>>(source, to, destination, n);
    case Dtype::F16: return convert_from<Small<kF16>>(source, to, destination, n);
    case Dtype::BF16: return convert_from<Small<kBf16>>(source, to, destination, n);
    case Dtype::F8_E4M3: return convert_from<Small<kE4m3>>(source, to, destination, n);
    default: return convert_from<Small<kE5m2>>(source, to, destination, n);
  }
}

}  // namespace taskvec::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace taskvec::kernels {
namespace {

HWY_EXPORT(convert_lanes);

constexpr size_t kMostLanes = 16;  // float32 in 512 bits
constexpr size_t kStep = 1024;     // elements that go through memory of our own where the caller's is not aligned

bool aligned(const void* data, size_t alignment) { return reinterpret_cast<uintptr_t>(data) % alignment == 0; }

void expect_float(Dtype dtype) {
  if (!is_float(dtype)) fail(ErrorCode::InvalidArgument, "{} is no float dtype", name(dtype));
}

}  // namespace

Dtype compute_dtype(Dtype dtype) { return dtype == Dtype::F64 || dtype == Dtype::F32 ? Dtype::F64 : Dtype::F32; }

void convert(Dtype from, std::span<const std::byte> source, Dtype to, std::span<std::byte> destination) {
  use_simd_level();
  expect_float(from);
  expect_float(to);
  const auto in = static_cast<size_t>(itemsize(from)), out = static_cast<size_t>(itemsize(to));
  const size_t n = source.size() / in;
  size_t done = 0;
  if (aligned(source.data(), in) && aligned(destination.data(), out)) {
    done = n / kMostLanes * kMostLanes;
    HWY_DYNAMIC_DISPATCH(convert_lanes)(from, source.data(), to, destination.data(), done);
  }
  alignas(64) std::byte before[kStep * sizeof(double)], after[kStep * sizeof(double)];
  while (done < n) {
    const size_t size = std::min(kStep, n - done), padded = (size + kMostLanes - 1) / kMostLanes * kMostLanes;
    std::memset(before + size * in, 0, (padded - size) * in);
    std::memcpy(before, source.data() + done * in, size * in);
    HWY_DYNAMIC_DISPATCH(convert_lanes)(from, before, to, after, padded);
    std::memcpy(destination.data() + done * out, after, size * out);
    done += size;
  }
}

}  // namespace taskvec::kernels
#endif
