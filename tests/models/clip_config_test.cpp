#include "taskvec/core/error.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

namespace taskvec::models {
namespace {

using nlohmann::json;

std::string error_of(const json& config, ErrorCode code) {
  return message_of(code, [&] { ClipConfig::from_json(config, "m/config.json"); });
}

TEST(ClipConfig, DefaultsAreThoseOfTransformers) {
  const ClipConfig c = ClipConfig::from_json({{"model_type", "clip"}}, "config.json");
  EXPECT_EQ(c.vision.hidden_size, 768);
  EXPECT_EQ(c.vision.intermediate_size, 3072);
  EXPECT_EQ(c.vision.num_hidden_layers, 12);
  EXPECT_EQ(c.vision.num_attention_heads, 12);
  EXPECT_EQ(c.text.hidden_size, 512);
  EXPECT_EQ(c.text.intermediate_size, 2048);
  EXPECT_EQ(c.text.num_hidden_layers, 12);
  EXPECT_EQ(c.text.num_attention_heads, 8);
  EXPECT_EQ(c.text.hidden_act, Activation::QuickGelu);
  EXPECT_EQ(c.text.layer_norm_eps, 1e-5);
  EXPECT_EQ(c.image_size, 224);
  EXPECT_EQ(c.patch_size, 32);
  EXPECT_EQ(c.num_channels, 3);
  EXPECT_EQ(c.vocab_size, 49408);
  EXPECT_EQ(c.max_position_embeddings, 77);
  EXPECT_EQ(c.bos_token_id, 49406);
  EXPECT_EQ(c.eos_token_id, 49407);
  EXPECT_EQ(c.pad_token_id, 1);
  EXPECT_EQ(c.projection_dim, 512);
  EXPECT_EQ(c.logit_scale_init_value, 2.6592);
}

TEST(ClipConfig, RoundTrip) {
  ClipConfig config = testing_models::tiny_config();
  config.vision.layer_norm_eps = 1e-6;
  config.text.hidden_act = Activation::Gelu;
  config.vision.hidden_act = Activation::GeluTanh;
  const json written = config.to_json();
  EXPECT_EQ(ClipConfig::from_json(written, "config.json").to_json(), written);
  EXPECT_EQ(written["text_config"]["eos_token_id"], 599);
  EXPECT_EQ(written["vision_config"]["layer_norm_eps"], 1e-6);
  EXPECT_EQ(written["vision_config"]["hidden_act"], "gelu_pytorch_tanh");
}

TEST(ClipConfig, OldFilesRepeatTheTowersAsDicts) {
  json config = {{"model_type", "clip"},
                 {"text_config", {{"hidden_size", 64}, {"vocab_size", 100}}},
                 {"text_config_dict", {{"hidden_size", 32}}},
                 {"vision_config", {{"hidden_size", 24}}},
                 {"vision_config_dict", nullptr}};
  const ClipConfig c = ClipConfig::from_json(config, "config.json");
  EXPECT_EQ(c.text.hidden_size, 32);
  EXPECT_EQ(c.vocab_size, 49408);  // the dict wins with its defaults too
  EXPECT_EQ(c.vision.hidden_size, 24);
}

TEST(ClipConfig, NullMeansDefault) {
  const ClipConfig c =
      ClipConfig::from_json({{"model_type", "clip"}, {"projection_dim", nullptr}, {"text_config", nullptr}}, "c");
  EXPECT_EQ(c.projection_dim, 512);
}

TEST(ClipConfig, OtherModels) {
  EXPECT_EQ(error_of({{"model_type", "bert"}}, ErrorCode::Unsupported),
            "m/config.json: 'model_type' is 'bert', expected 'clip'; only CLIP models can be evaluated and trained");
  EXPECT_EQ(error_of(json::object(), ErrorCode::Unsupported),
            "m/config.json: 'model_type' is '', expected 'clip'; only CLIP models can be evaluated and trained");
  EXPECT_EQ(error_of(json::array(), ErrorCode::Format), "m/config.json: expected a JSON object, got array");
}

TEST(ClipConfig, ValuesOutOfRange) {
  const auto vision = [](const char* key, const json& value) {
    return json{{"model_type", "clip"}, {"vision_config", {{key, value}}}};
  };
  EXPECT_EQ(error_of(vision("hidden_size", 0), ErrorCode::Format),
            "m/config.json: vision_config: 'hidden_size': expected an integer from 1 to 65536, got 0");
  EXPECT_EQ(error_of(vision("hidden_size", 1e30), ErrorCode::Format),
            "m/config.json: vision_config: 'hidden_size': expected an integer from 1 to 65536, got 1e+30");
  EXPECT_EQ(error_of(vision("num_hidden_layers", 18446744073709551615ULL), ErrorCode::Format),
            "m/config.json: vision_config: 'num_hidden_layers': expected an integer from 1 to 1024, got 18446744073709551615");
  EXPECT_EQ(error_of(vision("layer_norm_eps", "x"), ErrorCode::Format),
            "m/config.json: vision_config: 'layer_norm_eps': expected a number from 0 to 1, got \"x\"");
  EXPECT_EQ(error_of(vision("num_attention_heads", 5), ErrorCode::Format),
            "m/config.json: vision_config: 'hidden_size' 768 is not a multiple of 'num_attention_heads' 5");
  EXPECT_EQ(error_of(vision("patch_size", 300), ErrorCode::Format),
            "m/config.json: vision_config: 'patch_size' 300 is larger than 'image_size' 224");
  EXPECT_EQ(error_of(vision("hidden_act", 3), ErrorCode::Format),
            "m/config.json: vision_config: 'hidden_act': expected a string, got 3");
  EXPECT_EQ(error_of(vision("hidden_act", "relu"), ErrorCode::Unsupported),
            "m/config.json: vision_config: 'hidden_act' is 'relu': expected quick_gelu, gelu, gelu_new or gelu_pytorch_tanh");
  EXPECT_EQ(error_of({{"model_type", "clip"}, {"text_config", 3}}, ErrorCode::Format),
            "m/config.json: 'text_config': expected an object, got number");
  EXPECT_EQ(error_of({{"model_type", "clip"}, {"text_config", {{"eos_token_id", {1, 2}}}}}, ErrorCode::Format),
            "m/config.json: text_config: 'eos_token_id': expected an integer from 0 to 16777216, got [1,2]");
}

}  // namespace
}  // namespace taskvec::models
