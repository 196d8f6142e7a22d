#include "taskvec/core/error.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>

#include <functional>
#include <set>

namespace taskvec::models {
namespace {

using testing_models::tiny_config;

bridge::Params in(const bridge::Params& params, at::ScalarType dtype) {
  return params.map([&](const std::string&, const at::Tensor& t) { return t.to(dtype); });
}

/// Ids that end as a tokenizer ends them.
at::Tensor some_ids(const ClipConfig& config) {
  at::Tensor ids = at::arange(18, at::kLong).view({3, 6}) * 31 % 500;
  for (int64_t row = 0; row < 3; ++row) ids[row].narrow(0, 3 + row, 3 - row).fill_(config.eos_token_id);
  return ids;
}

at::Tensor some_pixels(const ClipConfig& config) {
  return at::linspace(-2, 2, 2 * 3 * config.image_size * config.image_size)
      .sin()
      .view({2, 3, config.image_size, config.image_size});
}

double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(Clip, ParametersAndTheirOrder) {
  const Clip clip(tiny_config());
  const auto& params = clip.params().params;
  ASSERT_EQ(params.size(), 1U + 2 + 32 + 2 + 3 + 2 + 32 + 2 + 2);
  EXPECT_EQ(params[0].name, "logit_scale");
  EXPECT_EQ(params[1].name, "text_model.embeddings.token_embedding.weight");
  EXPECT_EQ(params[3].name, "text_model.encoder.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(params[3].layer, 0);
  EXPECT_EQ(params[3].tower, "text");
  EXPECT_EQ(params.back().name, "text_projection.weight");
}

TEST(Clip, ImageEncoderIsEverythingThatFineTuningChanges) {
  EXPECT_TRUE(Clip::is_image_encoder("vision_model.pre_layrnorm.bias"));
  EXPECT_TRUE(Clip::is_image_encoder("visual_projection.weight"));
  EXPECT_FALSE(Clip::is_image_encoder("vision_model.embeddings.position_ids"));
  EXPECT_FALSE(Clip::is_image_encoder("text_model.final_layer_norm.bias"));
  EXPECT_FALSE(Clip::is_image_encoder("logit_scale"));
}

TEST(Clip, InitialisesAsTransformersDoesAndTheSameEachTime) {
  const Clip clip(tiny_config());
  const bridge::Params params = clip.initialise(3), again = clip.initialise(3), other = clip.initialise(4);
  clip.params().check(params, "fresh");
  for (const auto& [name, tensor] : params) EXPECT_TRUE(tensor.equal(again.at(name))) << name;
  EXPECT_FALSE(params.at("visual_projection.weight").equal(other.at("visual_projection.weight")));
  EXPECT_NEAR(params.at("text_model.embeddings.token_embedding.weight").std().item<double>(), 0.02, 0.001);
  EXPECT_NEAR(params.at("vision_model.encoder.layers.0.mlp.fc1.weight").std().item<double>(), 1 / std::sqrt(32.0), 0.02);
  EXPECT_EQ(params.at("vision_model.post_layernorm.weight").min().item<double>(), 1.0);
  EXPECT_EQ(params.at("vision_model.encoder.layers.1.mlp.fc2.bias").abs().max().item<double>(), 0.0);
  EXPECT_NEAR(params.at("logit_scale").item<double>(), 2.6592, 1e-6);
}

TEST(Clip, TheLastBlockAtOnePositionIsTheBlock) {
  const Clip clip(tiny_config());
  const bridge::Params params = in(clip.initialise(0), at::kDouble);
  const at::Tensor pixels = some_pixels(clip.config()).to(at::kDouble);
  const at::Tensor token = clip.vision_hidden_states(params, pixels).back().select(1, 0);
  const at::Tensor pooled = at::layer_norm(token, {16}, params.at("vision_model.post_layernorm.weight"),
                                           params.at("vision_model.post_layernorm.bias"), 1e-5);
  EXPECT_LT(difference(at::linear(pooled, params.at("visual_projection.weight")), clip.image_features(params, pixels)), 1e-12);
}

TEST(Clip, TextIsPooledAtItsFirstEndAndBlindToWhatFollows) {
  const Clip clip(tiny_config());
  const bridge::Params params = in(clip.initialise(0), at::kDouble);
  const at::Tensor ids = some_ids(clip.config());
  at::Tensor other = ids.clone();
  other[0].narrow(0, 4, 2).fill_(7);  // row 0 ends at 3
  EXPECT_EQ(difference(clip.text_features(params, ids), clip.text_features(params, other)), 0);
  EXPECT_LT(difference(clip.text_features(params, ids)[0], clip.text_features(params, ids.narrow(0, 0, 1).narrow(1, 0, 4))[0]),
            1e-12);
  other[0][2] = 7;
  EXPECT_GT(difference(clip.text_features(params, ids), clip.text_features(params, other)), 0);
}

TEST(Clip, OldConfigsPoolAtTheLargestId) {
  ClipConfig old = tiny_config();
  old.eos_token_id = 2;
  const Clip clip(tiny_config()), old_clip(old);
  const bridge::Params params = clip.initialise(0);
  at::Tensor ids = some_ids(clip.config());
  ids[1][1] = 2;  // not the end, whatever the config says
  EXPECT_EQ(difference(clip.text_features(params, ids), old_clip.text_features(params, ids)), 0);
}

TEST(Clip, GradientsAreTheSlopes) {
  const Clip clip(tiny_config());
  const at::Tensor pixels = some_pixels(clip.config()).to(at::kDouble), ids = some_ids(clip.config());
  bridge::Params params = in(clip.initialise(1), at::kDouble);
  const auto value = [&](const bridge::Params& p) {
    return clip.image_features(p, pixels).sin().sum() + clip.text_features(p, ids).cos().sum();
  };
  std::vector<at::Tensor> leaves;
  for (const auto& [name, tensor] : params) {
    if (name != "logit_scale") leaves.push_back(tensor.requires_grad_());
  }
  const auto grads = torch::autograd::grad({value(params)}, leaves);
  const at::NoGradGuard no_grad;
  size_t i = 0;
  for (const auto& [name, tensor] : params) {
    if (name == "logit_scale") continue;
    const at::Tensor direction = at::arange(tensor.numel(), tensor.options()).cos().view_as(tensor);
    constexpr double kStep = 1e-5;
    bridge::Params forward = params, backward = params;
    forward.set(name, tensor + kStep * direction);
    backward.set(name, tensor - kStep * direction);
    const double slope = (value(forward) - value(backward)).item<double>() / (2 * kStep);
    EXPECT_NEAR((grads[i++] * direction).sum().item<double>(), slope, 1e-6 * std::max(1.0, std::abs(slope))) << name;
  }
}

TEST(Clip, CheckpointedActivationsChangeNoBit) {
  Clip clip(tiny_config());
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    std::vector<at::Tensor> values;
    std::vector<std::vector<at::Tensor>> gradients;
    for (const bool checkpointed : {false, true}) {
      clip.checkpoint_activations(checkpointed);
      std::vector<at::Tensor> leaves;
      const bridge::Params params = clip.initialise(2).filter(Clip::is_image_encoder).map([&](const auto&, const at::Tensor& t) {
        return leaves.emplace_back(t.detach().clone().requires_grad_());
      });
      leaves[5].requires_grad_(false);  // not everything has to move
      leaves.erase(leaves.begin() + 5);
      values.push_back(clip.image_features(params, some_pixels(clip.config()).to(type)));
      gradients.push_back(torch::autograd::grad({values.back().square().sum()}, leaves));
    }
    EXPECT_TRUE(values[0].equal(values[1]));
    for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(gradients[0][i].equal(gradients[1][i])) << i;
  }
}

TEST(Clip, CheckpointedActivationsAreNotKept) {
  models::ClipConfig config = tiny_config();
  config.vision.num_hidden_layers = 3;
  Clip clip(config);
  const bridge::Params params = clip.initialise(2).filter(Clip::is_image_encoder).map([](const auto&, const at::Tensor& t) {
    return t.detach().clone().requires_grad_();
  });
  // Operations that autograd remembers, each with what it saved: its graph without the leaves.
  const auto kept = [&](bool checkpointed) {
    clip.checkpoint_activations(checkpointed);
    const at::Tensor features = clip.image_features(params, some_pixels(config));
    std::set<const torch::autograd::Node*> seen;
    int operations = 0;
    std::function<void(const torch::autograd::Node*)> walk = [&](const torch::autograd::Node* node) {
      if (node == nullptr || !seen.insert(node).second) return;
      operations += node->num_outputs() > 0 ? 1 : 0;
      for (const auto& edge : node->next_edges()) walk(edge.function.get());
    };
    walk(features.grad_fn().get());
    return operations;
  };
  // The graph of two of the three blocks is one node each.
  EXPECT_LT(kept(true), kept(false) / 2);
}

TEST(Clip, ComputesInThePixelsDtypeWhateverTheWeightsAre) {
  const Clip clip(tiny_config());
  const bridge::Params half = in(clip.initialise(0), at::kBFloat16);
  const at::Tensor pixels = some_pixels(clip.config());
  EXPECT_TRUE(clip.image_features(half, pixels).equal(clip.image_features(in(half, at::kFloat), pixels)));
  EXPECT_EQ(clip.text_features(half, some_ids(clip.config())).scalar_type(), at::kFloat);
}

TEST(Clip, PixelsBeyondTheLastWholePatchAreUnused) {
  ClipConfig config = tiny_config();
  config.image_size = 11;
  const Clip clip(config);
  const bridge::Params params = clip.initialise(0);
  at::Tensor pixels = some_pixels(config);
  const at::Tensor before = clip.image_features(params, pixels);
  pixels.narrow(2, 8, 3).fill_(100);
  pixels.narrow(3, 8, 3).fill_(100);
  EXPECT_TRUE(before.equal(clip.image_features(params, pixels)));
}

TEST(Clip, WrongInputs) {
  const Clip clip(tiny_config());
  const bridge::Params params = clip.initialise(0);
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [&] {
                         clip.image_features(params, at::zeros({2, 1, 8, 8}));
                       }),
            "CLIP's image encoder takes float pixels of shape [batch, 3, 8, 8], got [2, 1, 8, 8] of Float");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [&] {
                         clip.image_features(params, at::zeros({2, 3, 8, 8}, at::kByte));
                       }),
            "CLIP's image encoder takes float pixels of shape [batch, 3, 8, 8], got [2, 3, 8, 8] of Byte");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [&] {
                         clip.text_features(params, at::zeros({2, 17}, at::kLong));
                       }),
            "CLIP's text encoder takes int64 ids of shape [batch, 1 to 16], got [2, 17] of Long");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [&] {
                         clip.text_features(params, at::full({1, 2}, 600, at::kLong));
                       }),
            "token ids run from 600 to 600, but the model's vocabulary has 600 entries; is this its tokenizer?");
}

}  // namespace
}  // namespace taskvec::models
