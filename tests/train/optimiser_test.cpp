#include "taskvec/train/optimiser.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace taskvec::train {
namespace {

bridge::Params point(double value) {
  bridge::Params params;
  params.add("a", at::full({3}, value, at::kDouble).requires_grad_());
  params.add("b", at::full({2, 2}, -value, at::kDouble).requires_grad_());
  return params;
}

std::vector<at::Tensor> gradients(double value) {
  return {at::full({3}, value, at::kDouble), at::full({2, 2}, 2 * value, at::kDouble)};
}

TEST(CosineSchedule, WarmsUpAndFallsToZero) {
  EXPECT_DOUBLE_EQ(cosine_schedule(1.0, 0, 10, 4), 0.25);
  EXPECT_DOUBLE_EQ(cosine_schedule(1.0, 3, 10, 4), 1.0);
  EXPECT_DOUBLE_EQ(cosine_schedule(1.0, 4, 10, 4), 1.0);
  EXPECT_DOUBLE_EQ(cosine_schedule(2.0, 7, 10, 4), 1.0);
  EXPECT_NEAR(cosine_schedule(1.0, 10, 10, 4), 0.0, 1e-15);
  EXPECT_DOUBLE_EQ(cosine_schedule(1.0, 0, 1, 0), 1.0);
  EXPECT_DOUBLE_EQ(cosine_schedule(1.0, 2, 3, 3), 1.0);
}

RC_GTEST_PROP(CosineSchedule, IsNeverNegativeNorAboveTheRate, ()) {
  const auto steps = *rc::gen::inRange<int64_t>(1, 1000);
  const auto warmup = *rc::gen::inRange<int64_t>(0, steps + 1);
  const auto step = *rc::gen::inRange<int64_t>(0, steps);
  const double rate = cosine_schedule(0.5, step, steps, warmup);
  RC_ASSERT(rate >= 0 && rate <= 0.5);
  RC_ASSERT(std::isfinite(rate));
}

// The first update of Adam is the sign of the gradient; decay is a factor of its own (Loshchilov and Hutter 2019, algorithm 2).
TEST(AdamW, FirstStepByHand) {
  const bridge::Params params = point(5);
  AdamW optimiser(params, {.epsilon = 0, .weight_decay = 0.1});
  const double norm = optimiser.step(gradients(0.5), 0.01);
  EXPECT_NEAR(norm, std::sqrt(3 * 0.25 + 4 * 1.0), 1e-12);
  EXPECT_NEAR(params.at("a")[0].item<double>(), 5 * (1 - 0.01 * 0.1) - 0.01, 1e-12);
  EXPECT_NEAR(params.at("b")[0][0].item<double>(), -5 * (1 - 0.01 * 0.1) - 0.01, 1e-12);
}

TEST(AdamW, ClippingBoundsWhatTheMomentsSee) {
  const bridge::Params params = point(1);
  AdamW optimiser(params, {.beta1 = 0.5, .clip = 1.0});
  const double norm = optimiser.step(gradients(100), 0.01);
  EXPECT_GT(norm, 100);  // as it was
  double squares = 0;
  for (const auto& [name, tensor] : optimiser.state()) {
    if (name.starts_with("adamw.first.")) squares += (tensor / 0.5).square().sum().item<double>();
  }
  EXPECT_NEAR(std::sqrt(squares), 1.0, 1e-6);
}

TEST(AdamW, AParameterWithoutGradientOnlyDecays) {
  const bridge::Params params = point(2);
  AdamW optimiser(params, {.weight_decay = 0.5});
  auto grads = gradients(1);
  grads[1] = at::Tensor();
  optimiser.step(grads, 0.1);
  EXPECT_NEAR(params.at("b")[1][1].item<double>(), -2 * (1 - 0.1 * 0.5), 1e-12);
}

TEST(AdamW, RestoredStateGoesOnTheSame) {
  const bridge::Params whole = point(1), half = point(1);
  AdamW first(whole, {}), second(half, {});
  for (int i = 0; i < 3; ++i) first.step(gradients(i - 1.5), 0.1), second.step(gradients(i - 1.5), 0.1);
  const bridge::Params saved = second.state().map([](const std::string&, const at::Tensor& t) { return t.clone(); });
  second.step(gradients(1000), 0.1);  // what a crash forgets

  bridge::Params resumed;
  for (const auto& [name, tensor] : whole) resumed.add(name, tensor.detach().clone().requires_grad_());
  AdamW third(resumed, {});
  third.restore(saved);
  for (int i = 0; i < 3; ++i) first.step(gradients(0.1 * i), 0.1), third.step(gradients(0.1 * i), 0.1);
  for (const auto& [name, tensor] : whole) EXPECT_TRUE(tensor.equal(resumed.at(name))) << name;
}

TEST(AdamW, Errors) {
  bridge::Params constants;
  constants.add("x", at::ones({1}));
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { AdamW(constants, {}); }),
            "AdamW: 'x' is no leaf tensor that requires a gradient");
  AdamW optimiser(point(1), {});
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { optimiser.step({at::ones({3})}, 0.1); }),
            "AdamW: 1 gradients for 2 parameters");
  bridge::Params state = optimiser.state();
  state.set("adamw.second.b", at::ones({5}));
  EXPECT_EQ(message_of(ErrorCode::Format, [&] { optimiser.restore(state); }),
            "optimiser state 'adamw.second.b': expected shape [2, 2], got [5]");
  EXPECT_NE(message_of(ErrorCode::NotFound, [&] { optimiser.restore({}); }).find("no parameter 'adamw.first.a'"),
            std::string::npos);
}

}  // namespace
}  // namespace taskvec::train
