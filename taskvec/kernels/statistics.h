#pragma once

#include "taskvec/core/tensor_view.h"

#include <utility>

namespace taskvec::kernels {

/// How two tensors differ. Every sum is taken in float64 in one order, whatever the SIMD level: element i is added to the i-th of
/// eight partial sums (modulo eight), products rounded before they are added, and at the end the upper half of the partial sums
/// is added to the lower one until one is left. merge() adds one part of a tensor to what comes before it.
struct Difference {
  int64_t n = 0;
  int64_t differing = 0;  ///< elements whose bits differ
  double max_abs = 0;     ///< NaN when one side is NaN where the other is not
  double sum_abs = 0;
  double dot_aa = 0, dot_bb = 0, dot_ab = 0, sum_squares = 0;  ///< of a, b and b - a
  int64_t non_finite = 0;

  void merge(const Difference& other);
};

/// @param a, b  n elements each, float dtypes (may differ)
Difference difference(Dtype dtype_a, const std::byte* a, Dtype dtype_b, const std::byte* b, int64_t n);

/// What storing a difference costs, summed like Difference; every element is taken in float64.
struct Residual {
  double error = 0;  ///< of the squares of stored - (a - b)
  double norm = 0;   ///< of the squares of a - b
};

/// @param a, b, stored  n elements each, float dtypes (may differ), finite
Residual residual(Dtype dtype_a, const std::byte* a, Dtype dtype_b, const std::byte* b, Dtype dtype_stored,
                  const std::byte* stored, int64_t n);

/// Sums of magnitudes and of squares, summed like Difference.
struct Magnitudes {
  double sum_abs = 0, sum_squares = 0;

  void add(const Magnitudes& other) {
    sum_abs += other.sum_abs;
    sum_squares += other.sum_squares;
  }
};
Magnitudes magnitudes(std::span<const double> values);

/// Bit i % 8 of byte i / 8 says whether element i is below zero; bits beyond the elements are 0.
/// @param bits  (n + 7) / 8 bytes
void negative_bits(std::span<const double> values, std::span<std::byte> bits);

/// How many values are above a threshold, and how many are equal to it.
std::pair<int64_t, int64_t> count_above_and_equal(std::span<const uint32_t> values, uint32_t threshold);

/// Number of NaN and infinite elements.
int64_t count_non_finite(Dtype dtype, const std::byte* data, int64_t n);

}  // namespace taskvec::kernels
