#pragma once

#include <cstdint>

namespace taskvec::kernels {

/// sums[r][c] += left[r][0] * right[0][c] + left[r][1] * right[1][c] + ..., one after the other in float64, every product rounded
/// before it is added: the same bits on every SIMD level.
/// @param left   [rows, depth], contiguous
/// @param right  [depth, columns], contiguous; columns is a multiple of 16
/// @param sums   [rows, columns], contiguous
void multiply_add(const double* left, const double* right, double* sums, int64_t rows, int64_t depth, int64_t columns);

}  // namespace taskvec::kernels
