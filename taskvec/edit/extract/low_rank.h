#pragma once

#include "taskvec/core/random.h"

#include <cstdint>
#include <span>
#include <vector>

namespace taskvec::edit {

/// matrix ~ left * right, the best factors of that rank but for what a randomised method misses.
struct LowRank {
  std::vector<double> left;   ///< [rows, rank]
  std::vector<double> right;  ///< [rank, columns]
};

/// Singular value decomposition by random projection: rank + 8 random directions, two power iterations, in float64 throughout;
/// exact (to rounding) where the matrix has no larger rank. Singular values are shared evenly by the factors. By all cores; the
/// same bits on any number of threads and at every SIMD level. Memory: 2 (rows + columns) (rank + 24) numbers besides the matrix.
/// @param matrix  [rows, columns], finite
/// @param rank    at least 1, at most min(rows, columns)
/// Source: Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1.
LowRank low_rank(std::span<const double> matrix, int64_t rows, int64_t columns, int64_t rank, const Philox& random);

}  // namespace taskvec::edit
