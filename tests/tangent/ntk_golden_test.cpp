// The empirical tangent kernel against PyTorch's.
#include "taskvec/tangent/ntk.h"
#include "tests/models/golden_clip.h"

namespace taskvec::tangent {
namespace {

TEST(GoldenNtk, GramMatrix) {
  const auto cases = golden::cases_with({"gram", "pixel_values"});
  if (cases.empty()) TASKVEC_NO_GOLDEN("golden tangent kernel");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.name());
    const auto model_case = golden::model_of(c, "tau.");
    ASSERT_TRUE(model_case) << "no model for it";
    const models::ClipModel model = models::open_clip(model_case->folder);
    const at::Tensor& pixels = c.expected.at("pixel_values");
    const Linearized encoder = image_encoder(
        model.network, model.params.map([&](const std::string&, const at::Tensor& t) { return t.to(pixels.scalar_type()); }));
    const at::Tensor got = ntk_gram(encoder, pixels), &expected = c.expected.at("gram");
    // Their float64 has a softmax of float32 in it; see linearized_golden_test.cpp.
    EXPECT_LE(golden::max_abs_difference(got, expected),
              std::max(c.meta.value("tolerance_rel", 1e-9), 1e-6) * expected.abs().max().item<double>());
  }
}

}  // namespace
}  // namespace taskvec::tangent
