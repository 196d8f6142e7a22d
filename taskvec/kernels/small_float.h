#pragma once

#include <cstdint>

namespace taskvec::kernels {

/// A binary floating-point format of at most 16 bits.
struct SmallFloat {
  int exponent_bits, mantissa_bits;
  bool has_infinity;  ///< F8_E4M3 has none: its all-ones exponent holds numbers, and one NaN per sign

  constexpr int bits() const { return 1 + exponent_bits + mantissa_bits; }
  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint32_t sign_bit() const { return 1U << (exponent_bits + mantissa_bits); }
  constexpr uint32_t infinity() const { return ((1U << exponent_bits) - 1) << mantissa_bits; }
  constexpr uint32_t nan() const { return has_infinity ? infinity() | 1U << (mantissa_bits - 1) : sign_bit() - 1; }
  /// The largest finite magnitude's bits.
  constexpr uint32_t largest() const { return has_infinity ? infinity() - 1 : sign_bit() - 2; }
  /// What a larger magnitude becomes: E4M3 saturates, as in torch.
  constexpr uint32_t overflow() const { return has_infinity ? infinity() : largest(); }
};

inline constexpr SmallFloat kF16{5, 10, true}, kBf16{8, 7, true}, kE4m3{4, 3, false}, kE5m2{5, 2, true};

}  // namespace taskvec::kernels
