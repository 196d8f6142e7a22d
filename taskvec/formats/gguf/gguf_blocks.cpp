#include "taskvec/formats/gguf/gguf_blocks.h"

#include "taskvec/kernels/convert.h"

#include <array>
#include <cstring>

namespace taskvec::formats {
namespace {

// Every product and sum below is one float32 operation, in the order of the Python package: its results are the reference.

constexpr int kSmall = 32, kSuper = 256;  // elements of a block and of a super-block (K types)

uint32_t byte(const std::byte* data, int i) { return std::to_integer<uint32_t>(data[i]); }
float signed_byte(const std::byte* data, int i) { return static_cast<float>(static_cast<int8_t>(data[i])); }

float half(const std::byte* data) {
  float value = 0;
  kernels::convert(Dtype::F16, {data, 2}, Dtype::F32, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

/// Element i of a small block of nibbles: low halves first.
uint32_t nibble(const std::byte* data, int i) { return byte(data, i % 16) >> (i / 16 * 4) & 15; }
/// Bit i of the 32 in four bytes.
uint32_t bit(const std::byte* data, int i) { return byte(data, i / 8) >> (i % 8) & 1; }

void q4_0(const std::byte* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < kSmall; ++i) out[i] = d * (static_cast<float>(nibble(b + 2, i)) - 8);
}

void q4_1(const std::byte* b, float* out) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

void q5_0(const std::byte* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < kSmall; ++i) out[i] = d * (static_cast<float>(nibble(b + 6, i) | bit(b + 2, i) << 4) - 16);
}

void q5_1(const std::byte* b, float* out) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(b + 8, i) | bit(b + 4, i) << 4) + m;
}

void q8_0(const std::byte* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < kSmall; ++i) out[i] = d * signed_byte(b + 2, i);
}

/// Of element i of a super-block: 2 bits (32 bytes hold four runs of 32 elements), a high bit (32 bytes hold eight), 4 bits.
uint32_t two_bits(const std::byte* data, int i) { return byte(data, i / 128 * 32 + i % 32) >> (i / 32 % 4 * 2) & 3; }
uint32_t high_bit(const std::byte* data, int i) { return byte(data, i % 32) >> (i / 32) & 1; }
uint32_t four_bits(const std::byte* data, int i) { return byte(data, i / 64 * 32 + i % 32) >> (i / 32 % 2 * 4) & 15; }

void q2_k(const std::byte* b, float* out) {  // scales 16, quants 64, d, dmin
  const float d = half(b + 80), dmin = half(b + 82);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(byte(b, s) & 15), min = dmin * static_cast<float>(byte(b, s) >> 4);
    for (int i = 16 * s; i < 16 * (s + 1); ++i) out[i] = scale * static_cast<float>(two_bits(b + 16, i)) - min;
  }
}

void q3_k(const std::byte* b, float* out) {  // high bits 32, quants 64, scales 12, d
  const float d = half(b + 108);
  const std::byte* scales = b + 96;
  for (int s = 0; s < 16; ++s) {
    const uint32_t low = byte(scales, s % 8) >> (s / 8 * 4) & 15, high = byte(scales, 8 + s % 4) >> (s / 4 * 2) & 3;
    const float scale = d * (static_cast<float>(low | high << 4) - 32);
    for (int i = 16 * s; i < 16 * (s + 1); ++i)
      out[i] = scale * (static_cast<float>(two_bits(b + 32, i)) - (high_bit(b, i) != 0 ? 0.0F : 4.0F));
  }
}

/// The 6-bit scale and minimum of run s of 32 elements, as Q4_K and Q5_K pack eight of each into 12 bytes.
struct ScaleMin {
  uint32_t scale, min;
};
ScaleMin scale_min(const std::byte* p, int s) {
  if (s < 4) return {byte(p, s) & 63, byte(p, s + 4) & 63};
  return {(byte(p, s + 4) & 15) | (byte(p, s - 4) >> 2 & 48), (byte(p, s + 4) >> 4) | (byte(p, s) >> 2 & 48)};
}

void q4_k(const std::byte* b, float* out) {  // d, dmin, scales 12, quants 128
  const float d = half(b), dmin = half(b + 2);
  for (int s = 0; s < 8; ++s) {
    const auto packed = scale_min(b + 4, s);
    const float scale = d * static_cast<float>(packed.scale), min = dmin * static_cast<float>(packed.min);
    for (int i = 32 * s; i < 32 * (s + 1); ++i) out[i] = scale * static_cast<float>(four_bits(b + 16, i)) - min;
  }
}

void q5_k(const std::byte* b, float* out) {  // d, dmin, scales 12, high bits 32, quants 128
  const float d = half(b), dmin = half(b + 2);
  for (int s = 0; s < 8; ++s) {
    const auto packed = scale_min(b + 4, s);
    const float scale = d * static_cast<float>(packed.scale), min = dmin * static_cast<float>(packed.min);
    for (int i = 32 * s; i < 32 * (s + 1); ++i)
      out[i] = scale * static_cast<float>(four_bits(b + 48, i) | high_bit(b + 16, i) << 4) - min;
  }
}

void q6_k(const std::byte* b, float* out) {  // low four bits 128, high two 64, scales 16, d
  const float d = half(b + 208);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * signed_byte(b + 192, s);
    for (int i = 16 * s; i < 16 * (s + 1); ++i) {
      const uint32_t low = byte(b, i / 128 * 64 + i % 64) >> (i / 64 % 2 * 4) & 15;
      out[i] = scale * (static_cast<float>(low | two_bits(b + 128, i) << 4) - 32);
    }
  }
}

constexpr std::array kTypes{
    GgmlType{0, "F32", 1, 4, Dtype::F32},
    GgmlType{1, "F16", 1, 2, Dtype::F16},
    GgmlType{2, "Q4_0", kSmall, 18, {}, q4_0},
    GgmlType{3, "Q4_1", kSmall, 20, {}, q4_1},
    GgmlType{6, "Q5_0", kSmall, 22, {}, q5_0},
    GgmlType{7, "Q5_1", kSmall, 24, {}, q5_1},
    GgmlType{8, "Q8_0", kSmall, 34, {}, q8_0},
    GgmlType{9, "Q8_1", 0, 0, {}},
    GgmlType{10, "Q2_K", kSuper, 84, {}, q2_k},
    GgmlType{11, "Q3_K", kSuper, 110, {}, q3_k},
    GgmlType{12, "Q4_K", kSuper, 144, {}, q4_k},
    GgmlType{13, "Q5_K", kSuper, 176, {}, q5_k},
    GgmlType{14, "Q6_K", kSuper, 210, {}, q6_k},
    GgmlType{15, "Q8_K", 0, 0, {}},
    GgmlType{16, "IQ2_XXS", 0, 0, {}},
    GgmlType{17, "IQ2_XS", 0, 0, {}},
    GgmlType{18, "IQ3_XXS", 0, 0, {}},
    GgmlType{19, "IQ1_S", 0, 0, {}},
    GgmlType{20, "IQ4_NL", 0, 0, {}},
    GgmlType{21, "IQ3_S", 0, 0, {}},
    GgmlType{22, "IQ2_S", 0, 0, {}},
    GgmlType{23, "IQ4_XS", 0, 0, {}},
    GgmlType{24, "I8", 1, 1, Dtype::I8},
    GgmlType{25, "I16", 1, 2, Dtype::I16},
    GgmlType{26, "I32", 1, 4, Dtype::I32},
    GgmlType{27, "I64", 1, 8, Dtype::I64},
    GgmlType{28, "F64", 1, 8, Dtype::F64},
    GgmlType{29, "IQ1_M", 0, 0, {}},
    GgmlType{30, "BF16", 1, 2, Dtype::BF16},
    GgmlType{34, "TQ1_0", 0, 0, {}},
    GgmlType{35, "TQ2_0", 0, 0, {}},
    GgmlType{39, "MXFP4", 0, 0, {}},
    GgmlType{40, "NVFP4", 0, 0, {}},
};

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  for (const auto& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const GgmlType* find_ggml_type(Dtype dtype) {
  for (const auto& type : kTypes)
    if (type.as_is == dtype) return &type;
  return nullptr;
}

}  // namespace taskvec::formats
