#include "taskvec/formats/pytorch/strided.h"

#include <algorithm>
#include <cstring>

namespace taskvec::formats {
namespace {

/// n elements of N bytes, `stride` elements apart.
template <size_t N>
void copy_row(const std::byte* from, int64_t stride, int64_t n, std::byte* to) {
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + static_cast<size_t>(i) * N, from + i * stride * static_cast<int64_t>(N), N);
}

void copy_row(size_t itemsize, const std::byte* from, int64_t stride, int64_t n, std::byte* to) {
  if (stride == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * itemsize);
    return;
  }
  switch (itemsize) {
    case 1: return copy_row<1>(from, stride, n, to);
    case 2: return copy_row<2>(from, stride, n, to);
    case 4: return copy_row<4>(from, stride, n, to);
    case 8: return copy_row<8>(from, stride, n, to);
    default:
      for (int64_t i = 0; i < n; ++i)
        copy_row(itemsize, from + i * stride * static_cast<int64_t>(itemsize), 1, 1, to + static_cast<size_t>(i) * itemsize);
  }
}

}  // namespace

void gather(std::span<const std::byte> storage, const TensorInfo& info, std::span<const int64_t> strides, int64_t offset,
            int64_t first, std::span<std::byte> out) {
  const auto itemsize = static_cast<size_t>(taskvec::itemsize(info.dtype));
  const size_t rank = info.shape.size();
  auto left = static_cast<int64_t>(out.size() / itemsize);
  if (rank == 0) {
    if (left > 0) copy_row(itemsize, storage.data() + static_cast<size_t>(offset) * itemsize, 1, 1, out.data());
    return;
  }
  std::vector<int64_t> index(rank);
  for (size_t i = rank; i-- > 0; first /= info.shape[i]) {
    index[i] = first % info.shape[i];
    offset += index[i] * strides[i];
  }
  for (std::byte* to = out.data(); left > 0;) {
    const int64_t n = std::min(left, info.shape[rank - 1] - index[rank - 1]);
    copy_row(itemsize, storage.data() + static_cast<size_t>(offset) * itemsize, strides[rank - 1], n, to);
    to += static_cast<size_t>(n) * itemsize;
    left -= n;
    offset += n * strides[rank - 1];
    index[rank - 1] += n;
    for (size_t i = rank; i-- > 1 && index[i] == info.shape[i];) {  // carry
      offset += strides[i - 1] - index[i] * strides[i];
      index[i] = 0;
      ++index[i - 1];
    }
  }
}

}  // namespace taskvec::formats
