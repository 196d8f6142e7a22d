#include "taskvec/tangent/affine.h"

#include "taskvec/core/error.h"

namespace taskvec::tangent {

AffineOutputs::AffineOutputs(const models::Dual& value) : origin_(value.primal) {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& tangent : value.tangents) rows.push_back(tangent.reshape(-1));
  slopes_ = rows.empty() ? at::empty({0, origin_.numel()}, origin_.options()) : at::stack(rows);
}

at::Tensor AffineOutputs::slopes() const { return slopes_.view({-1, origin_.size(0), origin_.size(1)}); }

at::Tensor AffineOutputs::at(std::span<const double> coefficients) const {
  if (static_cast<int64_t>(coefficients.size()) != slopes_.size(0)) {
    fail(ErrorCode::InvalidArgument, "{} coefficients for outputs that depend on {}", coefficients.size(), slopes_.size(0));
  }
  const at::Tensor c =
      at::tensor(at::ArrayRef<double>(coefficients.data(), coefficients.size()), at::kDouble).to(origin_.options());
  return origin_ + at::matmul(c, slopes_).view(origin_.sizes());
}

}  // namespace taskvec::tangent
