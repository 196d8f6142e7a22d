#include "taskvec/analysis/kernel.h"

#include "taskvec/core/error.h"

#include <gtest/gtest.h>

#include <cmath>

namespace taskvec::analysis {
namespace {

at::Tensor features(int64_t samples, int64_t width, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn({samples, width}, generator, at::kDouble);
}

TEST(Kernel, EigenfunctionsOfSeparateTasksLiveOnTheirOwn) {
  const at::Tensor a = features(6, 3, 1), b = 0.1 * features(4, 3, 2);
  const at::Tensor gram = at::block_diag({a.matmul(a.t()), b.matmul(b.t())});
  const Spectrum got = spectrum(gram);
  EXPECT_LT((got.functions.matmul(at::diag(got.values)).matmul(got.functions.t()) - gram).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE((got.values.slice(0, 0, 9) >= got.values.slice(0, 1, 10)).all().item<bool>());
  const at::Tensor energy = local_energy(got, at::tensor({0, 0, 0, 0, 0, 0, 1, 1, 1, 1}, at::kLong), 2);
  EXPECT_LT((energy.sum(1) - 1).abs().max().item<double>(), 1e-12);
  for (int64_t rho = 0; rho < 6; ++rho)  // three functions of the larger block, three of the other
    EXPECT_NEAR(energy[rho][rho < 3 ? 0 : 1].item<double>(), 1, 1e-9) << rho;
}

TEST(Kernel, ANumberThatIsNoneIsAnError) {
  at::Tensor gram = at::eye(3, at::kDouble);
  gram[1][2] = NAN;
  EXPECT_THROW(spectrum(gram), Error);
}

TEST(Kernel, AlignmentIsOneForTheLabelsThemselvesAndSmallForNoise) {
  const at::Tensor labels = at::arange(60, at::kLong) % 3;
  const at::Tensor hot = at::one_hot(labels, 3).to(at::kDouble);
  EXPECT_NEAR(label_alignment(5 * hot.matmul(hot.t()) + 7, labels), 1, 1e-12);  // scale and shift do not count
  const at::Tensor noise = features(60, 500, 3);
  EXPECT_LT(std::abs(label_alignment(noise.matmul(noise.t()), labels)), 0.2);
  EXPECT_TRUE(std::isnan(label_alignment(hot.matmul(hot.t()), at::zeros(60, at::kLong))));
}

TEST(Kernel, CkaSeesNoRotationScaleOrShift) {
  const at::Tensor a = features(40, 5, 4);
  const auto [rotation, triangle] = at::linalg_qr(features(5, 5, 5));
  EXPECT_NEAR(linear_cka(a, 3 * a.matmul(rotation) + 2), 1, 1e-12);
  EXPECT_LT(linear_cka(a, features(40, 5, 6)), 0.5);
}

// A linear kernel's regression is ridge regression: weights (XᵀX + λI)⁻¹ XᵀY.
TEST(Kernel, RegressionWithALinearKernelIsRidgeRegression) {
  const at::Tensor x = features(30, 4, 7), y = features(20, 2, 8);
  const at::Tensor known = at::arange(20, at::kLong), asked = at::arange(20, 30, at::kLong);
  const at::Tensor train = x.slice(0, 0, 20), gram = x.matmul(x.t());
  const double ridge = 0.3, lambda = ridge * train.square().sum(1).mean().item<double>();
  const at::Tensor weights = at::linalg_solve(train.t().matmul(train) + lambda * at::eye(4, at::kDouble), train.t().matmul(y));
  const at::Tensor got = kernel_regression(gram, known, asked, y, ridge);
  EXPECT_LT((got - x.slice(0, 20, 30).matmul(weights)).abs().max().item<double>(), 1e-10);
}

}  // namespace
}  // namespace taskvec::analysis
