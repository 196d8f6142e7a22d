#include "taskvec/analysis/disentanglement.h"

#include "taskvec/core/error.h"
#include "taskvec/tangent/affine.h"
#include "taskvec/train/head.h"
#include "tests/models/golden_clip.h"

namespace taskvec::analysis {
namespace {

/// Logits [2 samples, 2 classes] whose first column is `score`.
at::Tensor answers(std::array<double, 2> score) {
  const at::Tensor first = at::tensor(at::ArrayRef<double>(score.data(), 2), at::kDouble);
  return at::stack({first, at::zeros_like(first)}, 1);
}

TEST(Disentanglement, IsZeroWhereVectorsActOnTheirOwnTaskAlone) {
  const Logits separate = [](size_t task, std::span<const double> a) { return answers({a[task] - 0.5, 1}); };
  EXPECT_EQ(disentanglement_error(separate, std::vector<double>{-1, 0, 1}).error.abs().max().item<double>(), 0);
}

TEST(Disentanglement, CountsTheAnswersThatTheOtherVectorChanges) {
  // Task 0's first sample flips once the other vector is at 1; task 1 never changes.
  const Logits mixed = [](size_t task, std::span<const double> a) { return answers({task == 0 ? 0.5 - a[1] : 1.0, 1}); };
  const Disentanglement got = disentanglement_error(mixed, std::vector<double>{0, 1, 2});
  const at::Tensor& error = got.error;
  EXPECT_TRUE(error.equal(at::tensor({0.0, 0.5, 0.5}, at::kDouble).expand({3, 3}))) << error;
  EXPECT_DOUBLE_EQ(got.everywhere.value, 1.0 / 3);
  EXPECT_DOUBLE_EQ(got.box.value, 0.25);  // four points of the nine
  // Task 0: 0 and 1/2 of two samples; task 1: always 0.
  EXPECT_NEAR(got.box.half_width, 1.959964 * 0.25 / std::sqrt(2.0), 1e-12);
  EXPECT_GT(disentanglement_error(mixed, std::vector<double>{0, 1}, Distance::Kl).error[0][1].item<double>(), 0);
}

TEST(Disentanglement, NamesThePointWhereOutputsAreNotFinite) {
  const Logits bad = [](size_t, std::span<const double> a) { return answers({a[0] > 1 ? NAN : 1, 1}); };
  try {
    disentanglement_error(bad, std::vector<double>{0, 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("(2, 0)"), std::string::npos) << error.what();
  }
}

TEST(GoldenDisentanglement, Maps) {
  const auto cases = golden::cases_with({"grid", "head", "inputs_0", "inputs_1", "linear", "nonlinear"});
  if (cases.empty()) TASKVEC_NO_GOLDEN("golden disentanglement maps");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.name());
    const auto model_case = golden::model_of(c, "tau0.");
    ASSERT_TRUE(model_case) << "no model for it";
    const models::ClipModel model = models::open_clip(model_case->folder);
    const tangent::Linearized encoder = tangent::image_encoder(model.network, model.params);
    const at::Tensor head = c.expected.at("head").t();
    std::vector<bridge::Params> tau(2);
    for (const auto& [name, tensor] : c.expected) {
      if (name.starts_with("tau0.") || name.starts_with("tau1.")) tau[name[3] == '1'].add(name.substr(5), tensor);
    }
    const std::array inputs{c.expected.at("inputs_0"), c.expected.at("inputs_1")};
    const Logits standard = [&](size_t task, std::span<const double> a) {
      const bridge::Params point = encoder.origin().map(
          [&](const std::string& name, const at::Tensor& t) { return t + a[0] * tau[0].at(name) + a[1] * tau[1].at(name); });
      return train::classify(model.network.image_features(point, inputs[task]), head);
    };
    const std::array affine{tangent::AffineOutputs(encoder.jvp(tau, inputs[0])),
                            tangent::AffineOutputs(encoder.jvp(tau, inputs[1]))};
    const Logits linear = [&](size_t task, std::span<const double> a) { return train::classify(affine[task].at(a), head); };

    const at::Tensor alphas = c.expected.at("grid").to(at::kDouble).contiguous();
    const std::span<const double> grid(alphas.const_data_ptr<double>(), static_cast<size_t>(alphas.numel()));
    const double tolerance = 2.01 / static_cast<double>(inputs[0].size(0));  // two answers near a boundary
    EXPECT_LE(golden::max_abs_difference(disentanglement_error(standard, grid).error, c.expected.at("nonlinear")), tolerance);
    EXPECT_LE(golden::max_abs_difference(disentanglement_error(linear, grid).error, c.expected.at("linear")), tolerance);
  }
}

}  // namespace
}  // namespace taskvec::analysis
