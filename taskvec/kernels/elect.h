#pragma once

#include <cstdint>
#include <span>

namespace taskvec::kernels {

/// For every element of some rows x_i (of TIES's "elect" and "disjoint merge", Yadav et al. 2023): the sign of S = Σ f_i x_i is
/// elected, and out = Σ f_i x_i over the rows that have this sign; with `normalize` divided by Σ w_i over the same rows, unless
/// that is 0. In float64, rows in order, rounded once. NaN in a row is NaN in the result.
/// @param rows     one after the other, `stride` elements apart
/// @param plus     whether S = 0 elects +
void merge_agreeing(std::span<const float> rows, size_t stride, std::span<const double> factors, std::span<const double> weights,
                    bool plus, bool normalize, std::span<float> out);

/// How many of the first n elements have a positive S, less how many have a negative one.
int64_t sign_balance(std::span<const float> rows, size_t stride, std::span<const double> factors, size_t n);

}  // namespace taskvec::kernels
