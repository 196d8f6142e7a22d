#include "taskvec/kernels/convert.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace taskvec::kernels {
namespace {

/// A binary floating-point format of at most 16 bits.
struct SmallFloat {
  int exponent_bits, mantissa_bits;
  bool has_infinity;  ///< F8_E4M3 has none: its all-ones exponent holds numbers, and one NaN per sign

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint32_t sign_bit() const { return 1U << (exponent_bits + mantissa_bits); }
  constexpr uint32_t infinity() const { return ((1U << exponent_bits) - 1) << mantissa_bits; }
  constexpr uint32_t nan() const { return has_infinity ? infinity() | 1U << (mantissa_bits - 1) : sign_bit() - 1; }
  /// The largest finite magnitude's bits.
  constexpr uint32_t largest() const { return has_infinity ? infinity() - 1 : sign_bit() - 2; }
};

constexpr SmallFloat kF16{5, 10, true}, kBf16{8, 7, true}, kE4m3{4, 3, false}, kE5m2{5, 2, true};

/// Exact: every small float is a double.
template <SmallFloat F>
double decode(uint32_t bits) {
  const uint32_t magnitude = bits & (F.sign_bit() - 1);
  const double sign = (bits & F.sign_bit()) != 0 ? -1.0 : 1.0;
  if (magnitude > F.largest()) {
    if (F.has_infinity && magnitude == F.infinity()) return sign * std::numeric_limits<double>::infinity();
    return std::numeric_limits<double>::quiet_NaN();
  }
  const int exponent = static_cast<int>(magnitude >> F.mantissa_bits);
  const uint32_t mantissa = magnitude & ((1U << F.mantissa_bits) - 1);
  const double significand = exponent == 0 ? mantissa : mantissa | 1U << F.mantissa_bits;
  // 2^(e - bias - mantissa_bits) as the bits of a double: in range for every format here.
  const int power = std::max(exponent, 1) - F.bias() - F.mantissa_bits;
  return sign * significand * std::bit_cast<double>(static_cast<uint64_t>(power + 1023) << 52);
}

/// Nearest-even from a double, in one rounding.
template <SmallFloat F>
uint32_t encode(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint32_t sign = (bits >> 63) != 0 ? F.sign_bit() : 0;
  const uint64_t magnitude = bits & ~(uint64_t{1} << 63);
  constexpr uint64_t kInfinity = uint64_t{0x7FF} << 52;
  if (magnitude > kInfinity) return F.nan();
  const uint32_t overflow = F.has_infinity ? F.infinity() : F.largest();  // E4M3 saturates, as in torch
  if (magnitude == kInfinity) return sign | overflow;

  const int exponent = static_cast<int>(magnitude >> 52) - 1023;
  // Below the smallest normal number the last place has a fixed weight.
  const int last_place = std::max(exponent, 1 - F.bias()) - F.mantissa_bits;
  const int shift = 52 - (exponent - last_place);   // low bits of the significand that go
  if (exponent < -1022 || shift > 54) return sign;  // less than half of the smallest subnormal
  const uint64_t significand = (magnitude & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
  const uint64_t half = uint64_t{1} << (shift - 1);
  const uint64_t kept = significand >> shift, rest = significand & ((half << 1) - 1);
  const uint64_t rounded = kept + (rest > half || (rest == half && (kept & 1) != 0) ? 1 : 0);
  // Normal numbers carry the implicit bit in `rounded`; a carry out of the mantissa bumps the exponent by itself.
  const int biased = std::max(exponent + F.bias(), 1) - 1;
  const uint64_t result = (static_cast<uint64_t>(biased) << F.mantissa_bits) + rounded;
  return result > F.largest() ? sign | overflow : sign | static_cast<uint32_t>(result);
}

template <typename T>
T load(const std::byte* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void store(std::byte* data, size_t i, T value) {
  std::memcpy(data + i * sizeof(T), &value, sizeof(T));
}

/// Calls use(read) where read(i) is element i as a double.
template <typename Use>
void with_reader(Dtype dtype, const std::byte* data, const Use& use) {
  switch (dtype) {
    case Dtype::F64: return use([=](size_t i) { return load<double>(data, i); });
    case Dtype::F32: return use([=](size_t i) { return static_cast<double>(load<float>(data, i)); });
    case Dtype::F16: return use([=](size_t i) { return decode<kF16>(load<uint16_t>(data, i)); });
    case Dtype::BF16:
      return use([=](size_t i) { return static_cast<double>(std::bit_cast<float>(uint32_t{load<uint16_t>(data, i)} << 16)); });
    case Dtype::F8_E4M3: return use([=](size_t i) { return decode<kE4m3>(load<uint8_t>(data, i)); });
    case Dtype::F8_E5M2: return use([=](size_t i) { return decode<kE5m2>(load<uint8_t>(data, i)); });
    default: fail(ErrorCode::InvalidArgument, "{} is no float dtype", name(dtype));
  }
}

template <typename Read>
void write_all(const Read& read, size_t n, Dtype to, std::byte* out) {
  // Every NaN is written as the quiet one without payload, so that bytes do not depend on how the CPU passes payloads on.
  switch (to) {
    case Dtype::F64:
      for (size_t i = 0; i < n; ++i) {
        const double value = read(i);
        store(out, i, value != value ? std::numeric_limits<double>::quiet_NaN() : value);
      }
      return;
    case Dtype::F32:
      for (size_t i = 0; i < n; ++i) {
        const auto value = static_cast<float>(read(i));
        store(out, i, value != value ? std::numeric_limits<float>::quiet_NaN() : value);
      }
      return;
    case Dtype::F16:
      for (size_t i = 0; i < n; ++i) store(out, i, static_cast<uint16_t>(encode<kF16>(read(i))));
      return;
    case Dtype::BF16:
      for (size_t i = 0; i < n; ++i) store(out, i, static_cast<uint16_t>(encode<kBf16>(read(i))));
      return;
    case Dtype::F8_E4M3:
      for (size_t i = 0; i < n; ++i) store(out, i, static_cast<uint8_t>(encode<kE4m3>(read(i))));
      return;
    case Dtype::F8_E5M2:
      for (size_t i = 0; i < n; ++i) store(out, i, static_cast<uint8_t>(encode<kE5m2>(read(i))));
      return;
    default: fail(ErrorCode::InvalidArgument, "{} is no float dtype", name(to));
  }
}

}  // namespace

Dtype compute_dtype(Dtype dtype) { return dtype == Dtype::F64 || dtype == Dtype::F32 ? Dtype::F64 : Dtype::F32; }

void convert(Dtype from, std::span<const std::byte> source, Dtype to, std::span<std::byte> destination) {
  const size_t n = source.size() / static_cast<size_t>(itemsize(from));
  with_reader(from, source.data(), [&](const auto& read) { write_all(read, n, to, destination.data()); });
}

}  // namespace taskvec::kernels
