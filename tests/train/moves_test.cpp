#include "taskvec/train/moves.h"

#include "taskvec/train/head.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

namespace taskvec::train {
namespace {

// The reverse pass through θ0 and pull_back() against differences of the loss.
TEST(Moves, GradientsOfAdaptersAreThoseOfTheLinearisedNetwork) {
  at::manual_seed(11);
  const models::Clip clip(testing_models::tiny_config());
  const auto network = tangent::image_encoder(clip, clip.initialise(3));
  Moves moves(network.origin(), {.rank = 2, .linear = true, .seed = 5});
  {
    const at::NoGradGuard no_grad;
    for (const auto& entry : moves.leaves()) entry.second.copy_(at::randn_like(entry.second) * 0.1);
  }
  const at::Tensor pixels = at::randn({4, 3, 8, 8}), labels = at::arange(4, at::kLong) % 3;
  const at::Tensor head = 10 * at::randn({clip.config().projection_dim, 3});
  const auto got = moves.pull_back(linear_gradients(network, moves.displacement(), pixels, labels, head, 0).grads);

  const auto loss = [&] {
    const at::NoGradGuard no_grad;
    return at::cross_entropy_loss(classify(network(moves.displacement(), pixels), head).to(at::kDouble), labels).item<double>();
  };
  size_t leaf = 0;
  for (const auto& entry : moves.leaves()) {
    const at::NoGradGuard no_grad;
    constexpr double kStep = 1e-2;
    const at::Tensor direction = at::randn_like(entry.second);
    entry.second.add_(direction, kStep);
    const double above = loss();
    entry.second.add_(direction, -2 * kStep);
    const double below = loss();
    entry.second.add_(direction, kStep);
    const double slope = (got[leaf++] * direction).sum().item<double>();
    EXPECT_NE(slope, 0) << entry.first;
    EXPECT_NEAR((above - below) / (2 * kStep), slope, 2e-3 + 1e-2 * std::abs(slope)) << entry.first;
  }
}

}  // namespace
}  // namespace taskvec::train
