#include "taskvec/kernels/statistics.h"

#include "taskvec/kernels/convert.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace taskvec::kernels {
namespace {

constexpr size_t kTile = 2048;

/// Element i of either side as float64, a tile at a time.
class Tile {
 public:
  void load(Dtype dtype, const std::byte* data, size_t begin, size_t n) {
    const auto item = static_cast<size_t>(itemsize(dtype));
    convert(dtype, {data + begin * item, n * item}, Dtype::F64, std::as_writable_bytes(std::span(values_.data(), n)));
  }
  double operator[](size_t i) const { return values_[i]; }

 private:
  std::array<double, kTile> values_;
};

/// Elements whose exponent is all ones. Blocks of fixed size, which the compiler turns into SIMD code.
template <typename Bits>
int64_t count_full_exponents(const std::byte* data, size_t n, Bits exponent) {
  constexpr size_t kBlock = 256;
  std::array<Bits, kBlock> block;
  int64_t total = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t size = std::min(kBlock, n - begin);
    if (size < kBlock) block.fill(0);
    std::memcpy(block.data(), data + begin * sizeof(Bits), size * sizeof(Bits));
    Bits count = 0;  // at most the block's size
    for (size_t i = 0; i < kBlock; ++i) count = static_cast<Bits>(count + ((block[i] & exponent) == exponent ? 1 : 0));
    total += static_cast<int64_t>(count);
  }
  return total;
}

}  // namespace

void Difference::merge(const Difference& other) {
  n += other.n;
  differing += other.differing;
  max_abs = std::isnan(max_abs) || std::isnan(other.max_abs) ? std::numeric_limits<double>::quiet_NaN()
                                                             : std::max(max_abs, other.max_abs);
  sum_abs += other.sum_abs;
  dot_aa += other.dot_aa;
  dot_bb += other.dot_bb;
  dot_ab += other.dot_ab;
  sum_squares += other.sum_squares;
  non_finite += other.non_finite;
}

Difference difference(Dtype dtype_a, const std::byte* a, Dtype dtype_b, const std::byte* b, int64_t n) {
  Difference result;
  result.n = n;
  const auto count = static_cast<size_t>(n);
  const auto item = static_cast<size_t>(itemsize(dtype_a));
  Tile x, y;
  for (size_t begin = 0; begin < count; begin += kTile) {
    const size_t size = std::min(kTile, count - begin);
    x.load(dtype_a, a, begin, size);
    y.load(dtype_b, b, begin, size);
    for (size_t i = 0; i < size; ++i) {
      // Equal bits are equal values, NaN and infinity included.
      const bool same =
          dtype_a == dtype_b ? std::memcmp(a + (begin + i) * item, b + (begin + i) * item, item) == 0 : x[i] == y[i];
      if (!std::isfinite(x[i]) || !std::isfinite(y[i])) ++result.non_finite;
      result.dot_aa += x[i] * x[i];
      result.dot_bb += y[i] * y[i];
      result.dot_ab += x[i] * y[i];
      if (same) continue;
      ++result.differing;
      const double gap = y[i] - x[i];
      result.sum_abs += std::abs(gap);
      result.sum_squares += gap * gap;
      if (!(std::abs(gap) <= result.max_abs)) result.max_abs = std::abs(gap);  // NaN wins and stays
      if (std::isnan(gap)) result.max_abs = std::numeric_limits<double>::quiet_NaN();
    }
  }
  return result;
}

int64_t count_non_finite(Dtype dtype, const std::byte* data, int64_t n) {
  switch (dtype) {
    case Dtype::BF16: return count_full_exponents<uint16_t>(data, static_cast<size_t>(n), 0x7F80);
    case Dtype::F16: return count_full_exponents<uint16_t>(data, static_cast<size_t>(n), 0x7C00);
    case Dtype::F32: return count_full_exponents<uint32_t>(data, static_cast<size_t>(n), 0x7F800000);
    case Dtype::F64: return count_full_exponents<uint64_t>(data, static_cast<size_t>(n), 0x7FF0000000000000);
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
