#include "taskvec/formats/delta/byte_planes.h"

#include "taskvec/core/error.h"

#include <zstd.h>

#include <cstring>
#include <memory>

namespace taskvec::formats {
namespace {

constexpr int kLevel = 1;  // higher levels look for repetitions, of which differences of weights have none

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

template <typename Bits>
Bits load(std::span<const std::byte> bytes, size_t i) {
  Bits value;
  std::memcpy(&value, bytes.data() + i * sizeof(Bits), sizeof(Bits));
  return value;
}

// Wider than Bits in the middle, since narrow unsigned integers are promoted to int anyway.
template <typename Bits>
Bits zigzag(Bits value) {
  const auto sign = static_cast<Bits>(value >> (8 * sizeof(Bits) - 1));
  return static_cast<Bits>(static_cast<Bits>(value << 1) ^ static_cast<Bits>(Bits{0} - sign));
}

template <typename Bits>
Bits unzigzag(Bits value) {
  return static_cast<Bits>(static_cast<Bits>(value >> 1) ^ static_cast<Bits>(Bits{0} - static_cast<Bits>(value & 1)));
}

template <typename Bits>
void split(std::span<const std::byte> base, std::span<const std::byte> target, std::byte* planes) {
  const size_t n = target.size() / sizeof(Bits);
  for (size_t i = 0; i < n; ++i) {
    const Bits from = base.empty() ? Bits{0} : load<Bits>(base, i);
    const Bits code = zigzag(static_cast<Bits>(load<Bits>(target, i) - from));
    for (size_t plane = 0; plane < sizeof(Bits); ++plane) planes[plane * n + i] = static_cast<std::byte>(code >> (8 * plane));
  }
}

template <typename Bits>
void join(std::span<const std::byte> base, const std::byte* planes, std::span<std::byte> out) {
  const size_t n = out.size() / sizeof(Bits);
  for (size_t i = 0; i < n; ++i) {
    Bits code = 0;
    for (size_t plane = 0; plane < sizeof(Bits); ++plane)
      code = static_cast<Bits>(code | static_cast<Bits>(static_cast<Bits>(planes[plane * n + i]) << (8 * plane)));
    const Bits from = base.empty() ? Bits{0} : load<Bits>(base, i);
    const auto value = static_cast<Bits>(unzigzag(code) + from);
    std::memcpy(out.data() + i * sizeof(Bits), &value, sizeof(Bits));
  }
}

/// Calls use(Bits{}) with the unsigned integer of that many bytes.
template <typename Use>
void with_bits(int64_t item, const Use& use) {
  switch (item) {
    case 1: return use(uint8_t{});
    case 2: return use(uint16_t{});
    case 4: return use(uint32_t{});
    case 8: return use(uint64_t{});
    default: fail(ErrorCode::InvalidArgument, "elements of {} bytes have no planes", item);
  }
}

}  // namespace

std::vector<std::byte> compress_planes(int64_t item, std::span<const std::byte> base, std::span<const std::byte> target) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  std::vector<std::byte> planes(target.size()), frame(ZSTD_compressBound(target.size()));
  with_bits(item, [&](auto bits) { split<decltype(bits)>(base, target, planes.data()); });
  const size_t size = ZSTD_compressCCtx(context.get(), frame.data(), frame.size(), planes.data(), planes.size(), kLevel);
  if (ZSTD_isError(size) != 0) fail(ErrorCode::Io, "zstd cannot compress {} bytes: {}", target.size(), ZSTD_getErrorName(size));
  frame.resize(size);
  frame.shrink_to_fit();
  return frame;
}

bool decompress_planes(int64_t item, std::span<const std::byte> base, std::span<const std::byte> compressed,
                       std::span<std::byte> out) {
  if (ZSTD_getFrameContentSize(compressed.data(), compressed.size()) != out.size()) return false;
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  std::vector<std::byte> planes(out.size());
  const size_t size = ZSTD_decompressDCtx(context.get(), planes.data(), planes.size(), compressed.data(), compressed.size());
  if (size != out.size()) return false;  // an error code is larger than any size
  with_bits(item, [&](auto bits) { join<decltype(bits)>(base, planes.data(), out); });
  return true;
}

}  // namespace taskvec::formats
