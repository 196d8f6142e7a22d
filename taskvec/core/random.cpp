#include "taskvec/core/random.h"

#include <xxhash.h>

#include <cmath>
#include <numbers>

namespace taskvec {
namespace {

using Words = std::array<uint32_t, 4>;

void round(Words& counter, uint32_t key0, uint32_t key1) {
  const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
  counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
             static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
}

double unit(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace

Philox::Philox(uint64_t seed, std::string_view stream_name) : Philox(seed, XXH3_64bits(stream_name.data(), stream_name.size())) {}

std::array<uint32_t, 4> Philox::block(uint64_t index) const {
  Words counter{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream_),
                static_cast<uint32_t>(stream_ >> 32)};
  auto key0 = static_cast<uint32_t>(seed_), key1 = static_cast<uint32_t>(seed_ >> 32);
  for (int i = 0; i < 10; ++i, key0 += 0x9E3779B9, key1 += 0xBB67AE85) round(counter, key0, key1);
  return counter;
}

double Philox::uniform(uint64_t index) const {
  const auto words = block(index);
  return unit(words[0], words[1]);
}

double Philox::normal(uint64_t index) const {
  const auto words = block(index);
  const double radius = std::sqrt(-2 * std::log(1 - unit(words[0], words[1])));  // 1 - u is never 0
  return radius * std::cos(2 * std::numbers::pi * unit(words[2], words[3]));
}

uint64_t Philox::below(uint64_t index, uint64_t bound) const {
  const auto words = block(index);
  const uint64_t value = uint64_t{words[0]} << 32 | words[1];
  return static_cast<uint64_t>(static_cast<unsigned __int128>(value) * bound >> 64);
}

}  // namespace taskvec
