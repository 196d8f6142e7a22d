#include "taskvec/core/error.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

#include <limits>

namespace taskvec::models {
namespace {

using testing_models::TemporaryFolder;
using testing_models::tiny_config;
using testing_models::write_model;

class OpenClip : public testing::Test {
 protected:
  std::string error_of(ErrorCode code) const {
    return message_of(code, [&] { open_clip(folder_.path()); });
  }
  std::string at(const char* name) const { return (folder_.path() / name).string(); }

  TemporaryFolder folder_;
  Clip clip_{tiny_config()};
  bridge::Params params_ = clip_.initialise(0);
};

TEST_F(OpenClip, RoundTrip) {
  write_model(folder_.path(), tiny_config(), params_);
  const ClipModel model = open_clip(folder_.path());
  EXPECT_EQ(model.path, folder_.path());
  EXPECT_EQ(model.network.config().to_json(), tiny_config().to_json());
  for (const auto& [name, tensor] : params_) EXPECT_TRUE(tensor.equal(model.params.at(name))) << name;
}

TEST_F(OpenClip, BuffersOfOldCheckpointsAreIgnored) {
  params_.add("vision_model.embeddings.position_ids", at::arange(5));
  write_model(folder_.path(), tiny_config(), params_);
  EXPECT_EQ(open_clip(folder_.path()).params.size(), params_.size());
}

TEST_F(OpenClip, NoConfig) {
  EXPECT_EQ(error_of(ErrorCode::NotFound),
            at("config.json") + ": no such file; a model is a Hugging Face CLIP folder with config.json and model.safetensors");
}

TEST_F(OpenClip, ConfigThatIsNoJson) {
  write_file_atomically(folder_.path() / "config.json", "{\"model_type\": ");
  EXPECT_EQ(error_of(ErrorCode::Format).find(at("config.json") + ": not valid JSON"), 0U);
}

TEST_F(OpenClip, MissingTensor) {
  write_model(folder_.path(), tiny_config(), params_.filter([](const std::string& name) { return name != "logit_scale"; }));
  const std::string error = error_of(ErrorCode::Format);
  EXPECT_NE(error.find(": tensor 'logit_scale' is missing: expected shape [], and the config asks for 78 tensors"),
            std::string::npos)
      << error;
  EXPECT_EQ(error.find(folder_.path().string()), 0U) << error;
}

TEST_F(OpenClip, MisshapenTensor) {
  params_.set("visual_projection.weight", at::zeros({10, 17}));
  write_model(folder_.path(), tiny_config(), params_);
  const std::string error = error_of(ErrorCode::Format);
  EXPECT_NE(
      error.find(": tensor 'visual_projection.weight': expected shape [10, 16], got [10, 17]; do the weights and config.json "
                 "belong together?"),
      std::string::npos)
      << error;
}

TEST_F(OpenClip, IntegerTensor) {
  params_.set("visual_projection.weight", at::zeros({10, 16}, at::kInt));
  write_model(folder_.path(), tiny_config(), params_);
  const std::string error = error_of(ErrorCode::Format);
  EXPECT_NE(error.find(": tensor 'visual_projection.weight': expected F64, F32, F16 or BF16 to compute with, got Int"),
            std::string::npos)
      << error;
}

TEST_F(OpenClip, NanAndInfinity) {
  for (const bool nan : {true, false}) {
    const float bad = nan ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    params_.at("text_model.final_layer_norm.bias")[3] = bad;
    write_model(folder_.path(), tiny_config(), params_);
    const std::string error = error_of(ErrorCode::Numeric);
    const std::string kind = nan ? "NaN" : "infinite values";
    EXPECT_NE(error.find(": tensor 'text_model.final_layer_norm.bias' holds " + kind), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace taskvec::models
