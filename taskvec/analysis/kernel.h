#pragma once

#include <ATen/ATen.h>

namespace taskvec::analysis {

/// Eigenvalues and eigenfunctions of a kernel on a sample.
struct Spectrum {
  at::Tensor values;     ///< [samples] float64, the largest first
  at::Tensor functions;  ///< [samples, samples] float64: column ρ is the eigenfunction of values[ρ], of norm 1 over the sample
};

/// @param gram  [samples, samples], symmetric. @throws Error{Numeric} where it is not finite
Spectrum spectrum(const at::Tensor& gram);

/// Where eigenfunctions live (Ortiz-Jimenez et al. 2023, section 6.1): the share of φ_ρ² that lies on each group of the sample.
/// @param groups  [samples] int64 in [0, count), e.g. which task a sample is of
/// @return        [samples, count] float64; row ρ sums to 1
at::Tensor local_energy(const Spectrum& spectrum, const at::Tensor& groups, int64_t count);

/// Centred kernel alignment (Cortes et al. 2012) of a kernel with labels: <HKH, HYYᵀH> / (|HKH| |HYYᵀH|), Y one-hot, H the
/// centring matrix. 1: the kernel sees nothing but the labels; about 0: nothing of them.
/// @param labels  [samples] int64. @return NaN where all labels are equal or the kernel is constant
double label_alignment(const at::Tensor& gram, const at::Tensor& labels);

/// Linear centred kernel alignment of two representations of the same samples (CKA, Kornblith et al. 2019): 1 where one is the
/// other up to rotation, scale and shift. @param a,b  [samples, features]
double linear_cka(const at::Tensor& a, const at::Tensor& b);

/// Kernel ridge regression: K(x, X) (K(X, X) + ridge·mean(diag K)·I)⁻¹ Y.
/// @param gram     of all samples
/// @param known    positions of X, int64
/// @param asked    positions of x, int64
/// @param targets  Y, [known, outputs]
/// @return         [asked, outputs] float64
at::Tensor kernel_regression(const at::Tensor& gram, const at::Tensor& known, const at::Tensor& asked, const at::Tensor& targets,
                             double ridge);

}  // namespace taskvec::analysis
