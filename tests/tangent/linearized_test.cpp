// Properties of the linearised network, in float64.
#include "taskvec/tangent/affine.h"

#include "taskvec/core/error.h"
#include "tests/models/tiny_clip.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>

namespace taskvec::tangent {
namespace {

using testing_models::tiny_config;

bridge::Params in(const bridge::Params& params, at::ScalarType dtype) {
  return params.map([&](const std::string&, const at::Tensor& t) { return t.to(dtype); });
}

bridge::Params scaled(const bridge::Params& params, double factor) {
  return params.map([&](const std::string&, const at::Tensor& t) { return t * factor; });
}

bridge::Params sum(const bridge::Params& a, const bridge::Params& b) {
  return a.map([&](const std::string& name, const at::Tensor& t) { return t + b.at(name); });
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

/// One of CLIP's towers over the parameters that it reads, with inputs.
struct Tower {
  const char* name;
  models::Clip network;
  bool vision;

  bridge::Params params() const {
    return in(network.initialise(3), at::kDouble).filter([&](const std::string& parameter) {
      return vision == models::Clip::is_image_encoder(parameter) && parameter != "logit_scale";
    });
  }
  Linearized linearized() const {
    return {[this](const bridge::Params& point, std::span<const bridge::Params> directions, const at::Tensor& x) {
              return vision ? network.image_features(point, directions, x) : network.text_features(point, directions, x);
            },
            params()};
  }
  at::Tensor inputs() const {
    const auto& c = network.config();
    if (!vision)
      return (at::arange(18, at::kLong).view({3, 6}) * 31 % 500).index_fill(1, at::tensor({5}, at::kLong), c.eos_token_id);
    return at::linspace(-2, 2, 3 * 3 * c.image_size * c.image_size, at::kDouble).sin().view({3, 3, c.image_size, c.image_size});
  }
  /// A direction of the size of the parameters, from a stream of its own.
  bridge::Params direction(uint64_t seed) const {
    const bridge::Params random = network.initialise(seed);
    return params().map([&](const std::string& parameter, const at::Tensor& t) -> at::Tensor {
      const at::Tensor drawn = random.at(parameter).to(at::kDouble);
      const double width = static_cast<double>(seed);  // biases and scales are initialised to constants
      return drawn.numel() > 1 && largest(drawn - drawn.flatten()[0]) > 0
                 ? drawn
                 : 0.1 * at::linspace(1, width, t.numel(), at::kDouble).sin().view(t.sizes());
    });
  }
};

std::vector<Tower> towers() {
  std::vector<Tower> all;
  for (const models::Activation act : {models::Activation::QuickGelu, models::Activation::Gelu, models::Activation::GeluTanh}) {
    models::ClipConfig config = tiny_config();
    config.vision.hidden_act = config.text.hidden_act = act;
    all.push_back({"image encoder", models::Clip(config), true});
    all.push_back({"text encoder", models::Clip(config), false});
  }
  return all;
}

TEST(Linearized, JvpIsTheLimitOfFiniteDifferences) {
  for (const Tower& tower : towers()) {
    SCOPED_TRACE(tower.name);
    const Linearized network = tower.linearized();
    const bridge::Params tau = tower.direction(5);
    const at::Tensor x = tower.inputs(), got = network.jvp({&tau, 1}, x).tangents.at(0);
    const auto f = [&](double t) {
      const Linearized there(
          [&](const bridge::Params& p, std::span<const bridge::Params> d, const at::Tensor& in) {
            return tower.vision ? tower.network.image_features(p, d, in) : tower.network.text_features(p, d, in);
          },
          sum(network.origin(), scaled(tau, t)));
      return there.jvp({}, x).primal;
    };
    const double h = 1e-5;
    EXPECT_GT(largest(got), 1e-3);
    EXPECT_LT(largest((f(h) - f(-h)) / (2 * h) - got), 1e-7 * std::max(1.0, largest(got)));
  }
}

TEST(Linearized, JvpIsLinearAndTakesSeveralDirectionsAtOnce) {
  for (const Tower& tower : towers()) {
    SCOPED_TRACE(tower.name);
    const Linearized network = tower.linearized();
    const at::Tensor x = tower.inputs();
    const std::vector<bridge::Params> two{tower.direction(5), tower.direction(8)};
    const models::Dual each = network.jvp(two, x);
    const bridge::Params mixed = sum(scaled(two[0], 0.7), scaled(two[1], -1.9));
    const at::Tensor together = network.jvp({&mixed, 1}, x).tangents.at(0);
    EXPECT_LT(largest(0.7 * each.tangents.at(0) - 1.9 * each.tangents.at(1) - together),
              1e-12 * std::max(1.0, largest(together)));
    EXPECT_TRUE(each.tangents.at(1).equal(network.jvp({&two[1], 1}, x).tangents.at(0)));
  }
}

TEST(Linearized, VjpIsTheAdjointOfJvp) {
  for (const Tower& tower : towers()) {
    SCOPED_TRACE(tower.name);
    const Linearized network = tower.linearized();
    const bridge::Params tau = tower.direction(5);
    const at::Tensor x = tower.inputs(), jv = network.jvp({&tau, 1}, x).tangents.at(0);
    const at::Tensor u = at::linspace(0, 9, jv.numel(), at::kDouble).cos().view(jv.sizes());
    const bridge::Params back = network.vjp(x, u);
    double inner = 0;
    for (const auto& [name, tensor] : back) inner += (tensor * tau.at(name)).sum().item<double>();
    const double expected = (u * jv).sum().item<double>();
    EXPECT_NEAR(inner, expected, 1e-12 * std::max(1.0, std::abs(expected)));
  }
}

TEST(Linearized, DirectionsMayLackParameters) {
  const Tower tower = towers()[0];
  const Linearized network = tower.linearized();
  const auto attention = [](const std::string& name) { return name.find("self_attn") != std::string::npos; };
  const bridge::Params tau = tower.direction(5), some = tau.filter(attention);
  const bridge::Params padded =
      tau.map([&](const std::string& name, const at::Tensor& t) { return attention(name) ? t : at::zeros_like(t); });
  const at::Tensor x = tower.inputs();
  const at::Tensor expected = network.jvp({&padded, 1}, x).tangents.at(0);
  EXPECT_LT(largest(network.jvp({&some, 1}, x).tangents.at(0) - expected), 1e-13);
  const bridge::Params none;
  EXPECT_EQ(largest(network.jvp({&none, 1}, x).tangents.at(0)), 0);
}

TEST(Linearized, AtTheOriginItIsTheNetworkBitForBit) {
  for (const Tower& tower : towers()) {
    const Linearized network(tower.linearized());
    const at::Tensor x = tower.inputs();
    EXPECT_TRUE(network(scaled(network.origin(), 0), x).equal(network.jvp({}, x).primal)) << tower.name;
  }
}

TEST(AffineOutputs, EqualTheLinearisedNetworkAtEveryPoint) {
  const Tower tower = towers()[0];
  const Linearized network = tower.linearized();
  const at::Tensor x = tower.inputs();
  const std::vector<bridge::Params> two{tower.direction(5), tower.direction(8)};
  const AffineOutputs outputs(network.jvp(two, x));
  for (const auto& [a, b] : {std::pair(0.0, 0.0), std::pair(1.0, -0.5), std::pair(0.3, 2.0)}) {
    const at::Tensor direct = network(sum(scaled(two[0], a), scaled(two[1], b)), x);
    EXPECT_LT(largest(outputs.at(std::vector<double>{a, b}) - direct), 1e-12 * std::max(1.0, largest(direct)));
  }
  EXPECT_TRUE(outputs.at(std::vector<double>{0, 0}).equal(network.jvp({}, x).primal));
  EXPECT_THROW(outputs.at(std::vector<double>{1}), Error);
}

/// What libtorch's own dual numbers say of outputs and of the gradient of a loss of f_lin.
std::pair<at::Tensor, std::vector<at::Tensor>> by_dual_graph(const Tower& tower, const bridge::Params& origin,
                                                             const bridge::Params& tau, const at::Tensor& x) {
  const auto level = torch::autograd::ForwardADLevel::get_next_idx();
  std::vector<at::Tensor> leaves;
  const bridge::Params point = origin.map([&](const std::string& name, const at::Tensor& t) {
    leaves.push_back(tau.at(name).clone().requires_grad_());
    return at::_make_dual(t, leaves.back(), static_cast<int64_t>(level));
  });
  const at::Tensor dual = tower.vision ? tower.network.image_features(point, x) : tower.network.text_features(point, x);
  const auto [primal, tangent] = at::_unpack_dual(dual, static_cast<int64_t>(level));
  const at::Tensor outputs = primal + tangent;
  auto grads = torch::autograd::grad({outputs.sin().sum()}, leaves);
  torch::autograd::ForwardADLevel::release_idx(level);
  return {outputs.detach(), grads};
}

TEST(Linearized, GradientsAreThoseOfTheDualGraph) {
  at::globalContext().setSDPUseFlash(false);  // the fused attention has no forward derivative in libtorch
  for (const Tower& tower : towers()) {
    SCOPED_TRACE(tower.name);
    const Linearized network = tower.linearized();
    const bridge::Params tau = tower.direction(5);
    const at::Tensor x = tower.inputs();
    const auto [outputs, grads] = by_dual_graph(tower, network.origin(), tau, x);
    EXPECT_LT(largest(network(tau, x) - outputs), 1e-11);
    const Linearized::Loss got = network.gradients(
        tau, x, [](const at::Tensor& origin, const at::Tensor& tangent) { return (origin + tangent).sin().sum(); });
    ASSERT_EQ(got.grads.size(), grads.size());
    for (size_t i = 0; i < grads.size(); ++i)
      EXPECT_LT(largest(got.grads[i] - grads[i]), 1e-11 * std::max(1.0, largest(grads[i]))) << i;
  }
  at::globalContext().setSDPUseFlash(true);
}

template <typename Call>
std::pair<ErrorCode, std::string> error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ErrorCode::InvalidArgument, "no error"};
}

TEST(Linearized, CheckpointedActivationsChangeNoBitOfItsGradients) {
  Tower tower = towers().front();
  const bridge::Params tau = scaled(tower.direction(5), 0.1);
  std::vector<Linearized::Loss> losses;
  for (const bool checkpointed : {false, true}) {
    tower.network.checkpoint_activations(checkpointed);
    losses.push_back(tower.linearized().gradients(
        tau, tower.inputs(), [](const at::Tensor& f, const at::Tensor& moved) { return (f + moved).square().sum(); }));
  }
  EXPECT_EQ(losses[0].value, losses[1].value);
  EXPECT_GT(losses[0].value, 0);
  for (size_t i = 0; i < losses[0].grads.size(); ++i) EXPECT_TRUE(losses[0].grads[i].equal(losses[1].grads[i])) << i;
}

TEST(Linearized, BadDirectionsAreNamed) {
  const Tower tower = towers()[0];
  const Linearized network = tower.linearized();
  const at::Tensor x = tower.inputs();
  const auto with = [&](const char* name, const at::Tensor& tensor) {
    bridge::Params tau;
    tau.add(name, tensor);
    return error_of([&] { network.jvp({&tau, 1}, x); });
  };
  auto [code, text] = with("visual_projection.weigth", at::zeros({10, 16}));
  EXPECT_EQ(code, ErrorCode::InvalidArgument);
  EXPECT_NE(text.find("did you mean 'visual_projection.weight'"), std::string::npos) << text;
  std::tie(code, text) = with("visual_projection.weight", at::zeros({16, 10}));
  EXPECT_NE(text.find("visual_projection.weight' has shape [16, 10], the parameter [10, 16]"), std::string::npos) << text;
  std::tie(code, text) = with("visual_projection.weight", at::full({10, 16}, NAN));
  EXPECT_EQ(code, ErrorCode::Numeric);
  EXPECT_NE(text.find("'visual_projection.weight' holds NaN"), std::string::npos) << text;
}

TEST(Linearized, AnOperationWithoutARuleIsNamed) {
  bridge::Params origin;
  origin.add("w", at::ones({4, 4}, at::kDouble));
  origin.add("fixed", at::ones({4}, at::kDouble));
  const Linearized network(
      [](const bridge::Params& point, std::span<const bridge::Params> directions, const at::Tensor& x) {
        models::Dual w(point.at("w"));
        for (const bridge::Params& direction : directions) {
          const at::Tensor* tangent = direction.find("w");
          w.tangents.push_back(tangent != nullptr ? *tangent : at::Tensor());
        }
        return models::opaque("erfinv", models::linear(x, w), [](const at::Tensor& t) { return t.tanh().erfinv(); });
      },
      origin);
  bridge::Params tau;
  tau.add("fixed", at::ones({4}, at::kDouble));
  EXPECT_EQ(largest(network.jvp({&tau, 1}, at::ones({2, 4}, at::kDouble)).tangents.at(0)), 0);  // does not reach the operation
  tau.add("w", at::ones({4, 4}, at::kDouble));
  const auto [code, text] = error_of([&] { network.jvp({&tau, 1}, at::ones({2, 4}, at::kDouble)); });
  EXPECT_EQ(code, ErrorCode::Unsupported);
  EXPECT_NE(text.find("'erfinv' has no derivative"), std::string::npos) << text;
}

}  // namespace
}  // namespace taskvec::tangent
