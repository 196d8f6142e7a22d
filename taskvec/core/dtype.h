#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace taskvec {

/// Element types; the enumerators equal the names in safetensors files. All are whole bytes: the specification's F4, F6_E2M3 and
/// F6_E3M2 are not among them.
enum class Dtype : uint8_t {
  F64,
  F32,
  F16,
  BF16,
  F8_E4M3,
  F8_E5M2,
  I64,
  I32,
  I16,
  I8,
  U64,
  U32,
  U16,
  U8,
  BOOL,
  // Read, copied and written, but no arithmetic: complex numbers, exponents without a mantissa, 8-bit floats without a -0.
  C64,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ
};

/// The on-disk name, e.g. "BF16".
std::string_view name(Dtype dtype);

/// The dtype with this on-disk name (exact), also accepting numpy's and torch's words in lower case ("bfloat16", "float32").
std::optional<Dtype> parse_dtype(std::string_view text);

/// Bytes per element.
int64_t itemsize(Dtype dtype);

/// True for the types that arithmetic applies to.
bool is_float(Dtype dtype);

}  // namespace taskvec
