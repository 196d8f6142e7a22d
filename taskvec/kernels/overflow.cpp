#include "taskvec/kernels/overflow.h"

#include "taskvec/core/error.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace taskvec::kernels {
namespace {

constexpr size_t kBlock = 2048;

using Wide = std::array<double, kBlock>;

std::span<std::byte> bytes_of(Wide& values, size_t n) { return std::as_writable_bytes(std::span(values.data(), n)); }

/// Whether element i of an addend is NaN or infinite.
bool any_non_finite(std::span<const Addend> addends, size_t i) {
  return std::any_of(addends.begin(), addends.end(), [&](const Addend& addend) {
    return count_non_finite(addend.dtype, addend.data + i * static_cast<size_t>(itemsize(addend.dtype)), 1) > 0;
  });
}

}  // namespace

double largest_finite(Dtype dtype) {
  switch (dtype) {
    case Dtype::F64: return std::numeric_limits<double>::max();
    case Dtype::F32: return std::numeric_limits<float>::max();
    case Dtype::BF16: return 0x1.FEp127;
    case Dtype::F16: return 65504;
    case Dtype::F8_E5M2: return 57344;
    case Dtype::F8_E4M3: return 448;
    default: fail(ErrorCode::InvalidArgument, "{} is no float dtype", name(dtype));
  }
}

NonFinite find_overflow(std::span<const Addend> addends, int64_t n, Dtype to, std::byte* out, bool saturate) {
  NonFinite found;
  if (count_non_finite(to, out, n) == 0) return found;
  const auto item = static_cast<size_t>(itemsize(to));
  const double largest = largest_finite(to);
  Wide narrow, wide;
  std::vector<Addend> part(addends.begin(), addends.end());
  for (size_t begin = 0; begin < static_cast<size_t>(n); begin += kBlock) {
    const size_t size = std::min(kBlock, static_cast<size_t>(n) - begin);
    std::byte* block = out + begin * item;
    if (count_non_finite(to, block, static_cast<int64_t>(size)) == 0) continue;
    for (size_t k = 0; k < addends.size(); ++k)
      part[k].data = addends[k].data + begin * static_cast<size_t>(itemsize(addends[k].dtype));
    weighted_sum(part, static_cast<int64_t>(size), Dtype::F64, bytes_of(wide, size).data());
    convert(to, {block, size * item}, Dtype::F64, bytes_of(narrow, size));
    for (size_t i = 0; i < size; ++i) {
      if (std::isfinite(narrow[i])) continue;
      ++found.total;
      if (!std::isfinite(wide[i])) {
        found.given += any_non_finite(part, i) ? 1 : 0;
        continue;
      }
      ++found.overflowed;
      if (!saturate) continue;
      wide[i] = std::clamp(wide[i], -largest, largest);
      convert(Dtype::F64, bytes_of(wide, kBlock).subspan(i * sizeof(double), sizeof(double)), to, {block + i * item, item});
    }
  }
  return found;
}

}  // namespace taskvec::kernels
