// CLIP against transformers' outputs.
#include "tests/models/golden_clip.h"

namespace taskvec::models {
namespace {

void check_case(const golden::Case& c, at::ScalarType dtype) {
  SCOPED_TRACE(c.name() + " computed in " + c10::toString(dtype));
  const double tolerance = c.meta.value("tolerance_abs", 2e-5);
  const ClipModel model = open_clip(c.folder);
  const auto params = model.params.map([&](const std::string&, const at::Tensor& t) { return t.to(dtype); });
  const auto expect_near = [&](const char* name, const at::Tensor& got) {
    EXPECT_LE(golden::max_abs_difference(got, c.expected.at(name)), tolerance) << name;
    EXPECT_EQ(got.scalar_type(), dtype) << name;
  };

  const at::Tensor pixels = c.expected.at("pixel_values").to(dtype);
  const at::Tensor images = model.network.image_features(params, pixels);
  expect_near("image_features", images);
  const std::vector<at::Tensor> hidden = model.network.vision_hidden_states(params, pixels);
  for (size_t i = 0; i < hidden.size(); ++i) {
    const std::string name = "vision_hidden_" + std::to_string(i);
    if (c.expected.contains(name)) expect_near(name.c_str(), hidden[i]);
  }
  if (!c.expected.contains("text_features")) return;
  const at::Tensor texts = model.network.text_features(params, c.expected.at("input_ids"));
  expect_near("text_features", texts);
  if (!c.expected.contains("logits_per_image")) return;
  const auto normalised = [](const at::Tensor& x) { return x / x.norm(2, -1, true); };
  const at::Tensor cosines = normalised(images).matmul(normalised(texts).t());
  // The scale, up to 100, also scales the difference.
  const double scale = params.at("logit_scale").exp().item<double>();
  EXPECT_LE(golden::max_abs_difference(cosines * scale, c.expected.at("logits_per_image")), tolerance * std::max(1.0, scale));
}

TEST(GoldenClip, ForwardEqualsTransformers) {
  std::vector<golden::Case> cases = golden::cases_with({"pixel_values", "image_features"});
  std::erase_if(cases, [](const golden::Case& c) { return !c.has_model(); });
  if (cases.empty()) TASKVEC_NO_GOLDEN("golden CLIP");
  for (const golden::Case& c : cases) {
    check_case(c, at::kFloat);
    check_case(c, at::kDouble);
  }
}

}  // namespace
}  // namespace taskvec::models
