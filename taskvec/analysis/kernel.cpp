#include "taskvec/analysis/kernel.h"

#include "taskvec/core/error.h"

#include <limits>

namespace taskvec::analysis {
namespace {

/// H K H.
at::Tensor centred(const at::Tensor& gram) { return gram - gram.mean(0, true) - gram.mean(1, true) + gram.mean(); }

double alignment(const at::Tensor& a, const at::Tensor& b) {
  const double scale = (a.norm() * b.norm()).item<double>();
  return scale == 0 ? std::numeric_limits<double>::quiet_NaN() : (a * b).sum().item<double>() / scale;
}

}  // namespace

Spectrum spectrum(const at::Tensor& gram) {
  const at::Tensor kernel = gram.to(at::kDouble);
  if (!kernel.isfinite().all().item<bool>()) fail(ErrorCode::Numeric, "the kernel is not finite on this sample");
  const auto [values, functions] = at::linalg_eigh(kernel);
  return {values.flip(0), functions.flip(1)};
}

at::Tensor local_energy(const Spectrum& spectrum, const at::Tensor& groups, int64_t count) {
  const at::Tensor energy = spectrum.functions.square();  // [samples, ρ]
  return at::zeros({count, energy.size(1)}, at::kDouble).index_add_(0, groups, energy).t().contiguous();
}

double label_alignment(const at::Tensor& gram, const at::Tensor& labels) {
  const at::Tensor same = labels.unsqueeze(0).eq(labels.unsqueeze(1)).to(at::kDouble);  // Y Yᵀ
  return alignment(centred(gram.to(at::kDouble)), centred(same));
}

double linear_cka(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return alignment(centred(x.matmul(x.t())), centred(y.matmul(y.t())));
}

at::Tensor kernel_regression(const at::Tensor& gram, const at::Tensor& known, const at::Tensor& asked, const at::Tensor& targets,
                             double ridge) {
  const at::Tensor kernel = gram.to(at::kDouble), rows = kernel.index_select(0, known);
  const at::Tensor own = rows.index_select(1, known), identity = at::eye(own.size(0), at::kDouble);
  const at::Tensor weights = at::linalg_solve(own + ridge * own.diagonal().mean() * identity, targets.to(at::kDouble));
  return rows.index_select(1, asked).t().matmul(weights);
}

}  // namespace taskvec::analysis
