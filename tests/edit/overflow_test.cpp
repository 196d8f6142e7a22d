// Elements too large for the output's dtype, and the special values of IEEE 754.
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/provenance.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <limits>

namespace taskvec::edit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

class OverflowTest : public FolderTest {
 protected:
  Summary edit(const std::string& text, const Bindings& bindings, const PlanOptions& options,
               const std::string& out = "out.safetensors") const {
    return run(plan(parse(text), bindings, options), folder_ / out);
  }
  /// Two tensors, of which 2*a overflows in float16: in `v` once up and once down, in `w` not at all.
  Bindings large() const {
    return {{"a", folder_.write("a.safetensors", {made("v", Dtype::F16, {4}, {60000, -60000, 1, kInf}),
                                                  made("w", Dtype::F16, {2}, {30000, kNan})})}};
  }
};

TEST_F(OverflowTest, IsCountedPerTensorByDefault) {
  const auto summary = edit("2*a", large(), {});
  ASSERT_EQ(summary.overflows.size(), 1U);
  EXPECT_EQ(summary.overflows[0].tensor, "v");
  EXPECT_EQ(summary.overflows[0].dtype, Dtype::F16);
  EXPECT_EQ(summary.overflows[0].count, 2);
  EXPECT_EQ(summary.non_finite, 4);
  EXPECT_THAT(values_of(*formats::open(folder_ / "out.safetensors"), "v"), ElementsAre(kInf, -kInf, 2, kInf));
}

TEST_F(OverflowTest, AsAnErrorLeavesNothing) {
  EXPECT_THAT(message_of([&] { edit("2*a", large(), {.on_overflow = OnOverflow::Error}); }),
              HasSubstr("2 elements of tensor 'v' are too large for F16 (1 tensors have such); nothing was written"));
  EXPECT_FALSE(fs::exists(folder_ / "out.safetensors"));
  EXPECT_NO_THROW(edit("2*a", large(), {.dtype = Dtype::F32, .on_overflow = OnOverflow::Error}));
}

TEST_F(OverflowTest, SaturatingClampsWhatOverflowedAndNothingElse) {
  const auto summary = edit("2*a", large(), {.on_overflow = OnOverflow::Saturate});
  EXPECT_EQ(summary.non_finite, 2);  // those that the source had
  ASSERT_EQ(summary.overflows.size(), 1U);
  EXPECT_EQ(summary.overflows[0].count, 2);
  const auto out = formats::open(folder_ / "out.safetensors");
  EXPECT_THAT(values_of(*out, "v"), ElementsAre(65504, -65504, 2, kInf));
  EXPECT_THAT(values_of(*out, "w"), ElementsAre(60000, testing::IsNan()));
}

TEST_F(OverflowTest, EveryDtypeSaturatesAtItsLargestFiniteValue) {
  const auto a = folder_.write("a.safetensors", {made("v", Dtype::F64, {2}, {1e200, -1e200})});
  const std::vector<std::pair<Dtype, double>> largest{{Dtype::F32, std::numeric_limits<float>::max()},
                                                      {Dtype::BF16, 0x1.FEp127},
                                                      {Dtype::F16, 65504},
                                                      {Dtype::F8_E5M2, 57344},
                                                      {Dtype::F8_E4M3, 448}};
  for (const auto& [dtype, value] : largest) {
    edit("a", {{"a", a}}, {.dtype = dtype, .on_overflow = OnOverflow::Saturate});
    EXPECT_THAT(values_of(*formats::open(folder_ / "out.safetensors"), "v"), ElementsAre(value, -value)) << name(dtype);
  }
}

// In float32, where bfloat16 is evaluated, 2*a is infinite and 2*a - 2*b is NaN.
TEST_F(OverflowTest, OfThePartialSumsSaturatesToTheExactValue) {
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made("v", Dtype::BF16, {2}, {3e38, 3e38})})},
                          {"b", folder_.write("b.safetensors", {made("v", Dtype::BF16, {2}, {3e38, 1e38})})}};
  const auto summary = edit("2*a - 2*b", bindings, {.on_overflow = OnOverflow::Saturate});
  ASSERT_EQ(summary.overflows.size(), 1U);
  EXPECT_EQ(summary.overflows[0].count, 2);
  EXPECT_THAT(values_of(*formats::open(folder_ / "out.safetensors"), "v"), ElementsAre(0, 0x1.FEp127));
}

TEST_F(OverflowTest, SaturatesToTheSameBytesOnEveryLevelAndThreadCountAndIsReproduced) {
  std::vector<double> values(300'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::ldexp(1.7, static_cast<int>(i % 256) - 128);
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made("v", Dtype::BF16, {300'000}, values)})}};
  std::string expected;
  for (const int threads : {1, 2, 7}) {
    for (const auto& level : kernels::simd_levels()) {
      set_thread_count(threads);
      kernels::set_simd_level(level);
      edit("3*a", bindings, {.on_overflow = OnOverflow::Saturate});
      const std::string bytes = file_bytes(folder_ / "out.safetensors");
      if (expected.empty()) expected = bytes;
      EXPECT_EQ(bytes, expected) << threads << " threads, " << level;
    }
  }
  const auto out = formats::open(folder_ / "out.safetensors");
  EXPECT_THAT(out->manifest().metadata.at("taskvec.options"), HasSubstr(R"("on_overflow":"saturate")"));
  EXPECT_TRUE(reproduce(*out, {}).empty());
}

TEST_F(OverflowTest, TheResidentExecutorSaturatesAlike) {
  class Sink : public ParamSink {
   public:
    std::vector<std::byte> bytes;
    std::span<std::byte> tensor(size_t, const TensorPlan& tensor) override {
      bytes.resize(static_cast<size_t>(tensor.info.nbytes()));
      return bytes;
    }
  } sink;
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made("v", Dtype::F16, {3}, {60000, -7, kInf})})}};
  const PlanOptions options{.on_overflow = OnOverflow::Saturate};
  edit("2*a", bindings, options);
  Resident(parse("2*a"), bindings, options).apply({}, sink);
  EXPECT_EQ(sink.bytes, bytes_of(*formats::open(folder_ / "out.safetensors"), "v"));
}

// docs/edit.md, "Special values".
TEST_F(OverflowTest, ACopyKeepsPayloadsAndArithmeticWritesTheQuietNan) {
  const std::vector<uint16_t> nans{0x7FA5, 0xFF81, 0x7FFF};
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made_of_bits("v", Dtype::BF16, {3}, nans)})},
                          {"b", folder_.write("b.safetensors", {made("v", Dtype::BF16, {3}, {1, 2, 3})})}};
  const auto bits = [&](const std::string& text) {
    edit(text, bindings, {});
    const auto bytes = bytes_of(*formats::open(folder_ / "out.safetensors"), "v");
    std::vector<uint16_t> out(3);
    std::memcpy(out.data(), bytes.data(), 6);
    return out;
  };
  EXPECT_EQ(bits("a"), nans);
  EXPECT_EQ(bits("b + 1*(a - b)"), nans);
  EXPECT_EQ(bits("1*a + 0*b"), nans);
  EXPECT_THAT(bits("2*a"), ElementsAre(0x7FC0, 0x7FC0, 0x7FC0));
  EXPECT_THAT(bits("-a"), ElementsAre(0x7FC0, 0x7FC0, 0x7FC0));
  EXPECT_THAT(bits("a + b"), ElementsAre(0x7FC0, 0x7FC0, 0x7FC0));
}

TEST_F(OverflowTest, ACoefficientOfZeroTakesASourceOut) {
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made("v", Dtype::F32, {2}, {1, -0.0})})},
                          {"b", folder_.write("b.safetensors", {made("v", Dtype::F32, {2}, {kInf, kNan})})}};
  edit("2*a + 0*b", bindings, {});
  const auto out = values_of(*formats::open(folder_ / "out.safetensors"), "v");
  EXPECT_THAT(out, ElementsAre(2, 0));
  EXPECT_TRUE(std::signbit(out[1]));
}

TEST_F(OverflowTest, MinusZeroFollowsIeee) {
  const Bindings bindings{{"a", folder_.write("a.safetensors", {made("v", Dtype::F32, {2}, {-0.0, 0.0})})},
                          {"b", folder_.write("b.safetensors", {made("v", Dtype::F32, {2}, {-0.0, 0.0})})},
                          {"one", folder_.write("one.safetensors", {made("v", Dtype::F32, {2}, {1, 1})})}};
  const auto signs = [&](const std::string& text, std::optional<Dtype> dtype = {}) {
    edit(text, bindings, {.dtype = dtype});
    const auto out = values_of(*formats::open(folder_ / "out.safetensors"), "v");
    EXPECT_THAT(out, ElementsAre(0, 0)) << text;
    return std::pair(std::signbit(out[0]), std::signbit(out[1]));
  };
  using Signs = std::pair<bool, bool>;
  EXPECT_EQ(signs("a"), Signs(true, false));
  EXPECT_EQ(signs("a", Dtype::BF16), Signs(true, false));           // a conversion keeps the sign
  EXPECT_EQ(signs("1*a + 0*one", Dtype::F16), Signs(true, false));  // the other source takes no part
  EXPECT_EQ(signs("3*a"), Signs(true, false));
  EXPECT_EQ(signs("-3*a"), Signs(false, true));
  EXPECT_EQ(signs("a + b"), Signs(true, false));   // (-0) + (-0) = -0
  EXPECT_EQ(signs("a - b"), Signs(false, false));  // x - x = +0
  EXPECT_EQ(signs("a - a"), Signs(false, false));  // no source takes part: zeros
}

}  // namespace
}  // namespace taskvec::edit
