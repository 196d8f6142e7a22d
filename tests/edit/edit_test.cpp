#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/kernels/simd.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <mutex>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(Parse, PrintsBackTheSameTree) {
  for (const char* text : {"base + 0.4*(mnist - base) - $x*toxic", "interpolate(base, ft, 0.3)", "-a + b/2", "a - (b - c)",
                           "base + 0.3*(ft - base) @ \"vision_model.*\" + 0.1*(ft - base) @ !\"vision_model.*\""}) {
    const Expr expr = parse(text);
    EXPECT_EQ(parse(to_string(expr)), expr) << text;
  }
}

TEST(Parse, PointsAtTheMistake) {
  for (const char* text : {"base +", "base ** 2", "(base", "base + 1", "a*b", "", "base @ vision", "$"})
    EXPECT_THROW(parse(text), Error) << text;
  try {
    parse("base + * ft");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("^"));
  }
}

TEST(Expression, KnowsWhetherItIsAffineInCoefficients) {
  for (const char* text : {"base", "base + $a*(ft - base)", "$a*x/2 - ($b + 1)*y", "interpolate(x, y, $a)", "$a*x @ \"p.*\"",
                           "$c*$c*x + $a*y", "x + $a*ties(y - x, density=$c)"})
    EXPECT_TRUE(is_affine(parse(text), {"a", "b"})) << text;
  for (const char* text :
       {"$a*$b*x", "x/$a", "$a*($a*x + y)", "interpolate($a*x, y, $b)", "x + ties($a*(y - x))", "x + ties(y - x, density=$b)"})
    EXPECT_FALSE(is_affine(parse(text), {"a", "b"})) << text;
}

TEST(Reduce, AnAffineExpressionIsOneCoefficientPerSource) {
  using Terms = std::vector<std::pair<std::string, double>>;
  EXPECT_EQ(reduce(parse("base + 1*(ft - base)"), "t", {}), (Terms{{"ft", 1}}));
  EXPECT_EQ(reduce(parse("base + $x*(ft - base)"), "t", {{"x", 0}}), (Terms{{"base", 1}}));
  EXPECT_EQ(reduce(parse("(a + a + a)/3"), "t", {}), (Terms{{"a", 1}}));
  EXPECT_EQ(reduce(parse("c + (b - a)"), "t", {}), (Terms{{"c", 1}, {"b", 1}, {"a", -1}}));
  EXPECT_EQ(reduce(parse("a + 0.5*b @ \"v.*\""), "t.x", {}), (Terms{{"a", 1}}));
}

class EditTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "edit_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    set_thread_count(0);
    kernels::set_simd_level("");
    fs::remove_all(folder_);
  }

  /// A checkpoint with a bfloat16, a float32 and an integer tensor.
  std::shared_ptr<const formats::Checkpoint> make(const std::string& name, uint64_t seed, Shape shape = {300, 7},
                                                  int64_t number = 5) const {
    formats::OutputLayout layout;
    layout.tensors = {
        {"v.weight", {Dtype::BF16, shape}, 0}, {"t.weight", {Dtype::F32, {1000}}, 0}, {"ids", {Dtype::I64, {1}}, 0}};
    formats::CheckpointWriter writer(folder_ / (name + ".safetensors"), layout);
    const Philox random(seed, name);
    auto bf16 = writer.tensor(0), f32 = writer.tensor(1);
    for (size_t i = 0; i < bf16.size() / 2; ++i) {
      const auto value = static_cast<float>(random.normal(i));
      std::memcpy(bf16.data() + 2 * i, reinterpret_cast<const char*>(&value) + 2, 2);
    }
    for (size_t i = 0; i < 1000; ++i) {
      const auto value = static_cast<float>(random.normal(i));
      std::memcpy(f32.data() + 4 * i, &value, 4);
    }
    std::memcpy(writer.tensor(2).data(), &number, 8);
    writer.commit();
    return formats::open(folder_ / (name + ".safetensors"));
  }

  std::shared_ptr<const formats::Checkpoint> edit(const std::string& text, const Bindings& bindings,
                                                  const PlanOptions& options = {}) const {
    run(plan(parse(text), bindings, options), folder_ / "out.safetensors");
    return formats::open(folder_ / "out.safetensors");
  }

  static std::string error_of(const std::string& text, const Bindings& bindings, const PlanOptions& options = {}) {
    return message_of([&] { plan(parse(text), bindings, options); });
  }

  fs::path folder_;
};

TEST_F(EditTest, ZeroAndOneReturnTheEndsBitForBit) {
  const Bindings bindings{{"base", make("base", 1)}, {"ft", make("ft", 2)}};
  const PlanOptions zero{.coefficients = {{"x", 0}}}, one{.coefficients = {{"x", 1}}};
  for (const char* text : {"base + $x*(ft - base)", "interpolate(base, ft, $x)"}) {
    EXPECT_EQ(edit(text, bindings, zero)->fingerprint(), bindings.at("base")->fingerprint());
    EXPECT_EQ(edit(text, bindings, one)->fingerprint(), bindings.at("ft")->fingerprint());
  }
}

TEST_F(EditTest, TheSameBytesForAnyThreadCountAndSimdLevel) {
  const Bindings bindings{{"a", make("a", 1)}, {"b", make("b", 2)}, {"c", make("c", 3)}};
  std::string expected;
  for (const int threads : {1, 2, 7}) {
    for (const auto& level : kernels::simd_levels()) {
      set_thread_count(threads);
      kernels::set_simd_level(level);
      const std::string actual = edit("a + 0.3*(b - a) - 0.2*(c - a)", bindings)->fingerprint();
      if (expected.empty()) expected = actual;
      EXPECT_EQ(actual, expected) << threads << " threads, " << level;
    }
  }
}

TEST_F(EditTest, APatternChoosesTensors) {
  const Bindings bindings{{"a", make("a", 1)}, {"b", make("b", 2)}};
  const auto out = edit("a + (b - a) @ \"v.*\"", bindings);
  const auto bytes = [](const auto& checkpoint, const char* name) {
    const auto span = checkpoint->tensor(name).view.bytes;
    return std::vector<std::byte>(span.begin(), span.end());
  };
  EXPECT_EQ(bytes(out, "v.weight"), bytes(bindings.at("b"), "v.weight"));
  EXPECT_EQ(bytes(out, "t.weight"), bytes(bindings.at("a"), "t.weight"));
}

TEST_F(EditTest, TheResidentExecutorGivesTheStreamsBytes) {
  class Sink : public ParamSink {
   public:
    std::map<size_t, std::vector<std::byte>> tensors;
    std::span<std::byte> tensor(size_t index, const TensorPlan& tensor) override {
      const std::lock_guard lock(mutex_);
      auto& bytes = tensors[index];
      bytes.resize(static_cast<size_t>(tensor.info.nbytes()));
      return bytes;
    }

   private:
    std::mutex mutex_;
  };
  const Bindings bindings{{"a", make("a", 1)}, {"b", make("b", 2)}};
  Resident resident(parse("a + $x*(b - a)"), bindings);
  ASSERT_EQ(resident.coefficients(), std::vector<std::string>{"x"});
  Sink sink;
  for (const double x : {0.3, 0.7, 0.0}) {
    resident.apply(std::array{x}, sink);
    const auto out = edit("a + $x*(b - a)", bindings, {.coefficients = {{"x", x}}});
    for (size_t i = 0; i < 3; ++i)
      EXPECT_TRUE(std::ranges::equal(sink.tensors.at(i), out->tensor(out->manifest().tensors[i].name).view.bytes))
          << i << " at " << x;
  }
}

TEST_F(EditTest, TheMetadataSaysHowItWasMade) {
  const Bindings bindings{{"a", make("a", 1)}, {"b", make("b", 2)}};
  const auto metadata = edit("a + $x*(b - a)", bindings, {.coefficients = {{"x", 0.5}}})->manifest().metadata;
  EXPECT_EQ(parse(metadata.at("taskvec.expression")), parse("a + $x*(b - a)"));
  EXPECT_EQ(metadata.at("taskvec.coefficients"), R"({"x":0.5})");
  EXPECT_THAT(metadata.at("taskvec.sources"), HasSubstr(bindings.at("b")->fingerprint()));
}

TEST_F(EditTest, MistakesAreNamedBeforeAByteIsWritten) {
  const Bindings bindings{{"base", make("base", 1)},
                          {"ft", make("ft", 2)},
                          {"wide", make("wide", 3, {301, 7})},
                          {"other", make("other", 4, {300, 7}, 6)}};
  EXPECT_THAT(error_of("bsae + ft", bindings), HasSubstr("unknown source 'bsae'; did you mean 'base'?"));
  EXPECT_THAT(error_of("base + $lamda*ft", bindings, {.coefficients = {{"lambda", 1}}}), HasSubstr("did you mean 'lamda'?"));
  EXPECT_THAT(error_of("base + $x*ft", bindings), HasSubstr("coefficient $x has no value"));
  EXPECT_THAT(error_of("base + wide", bindings), HasSubstr("has shape [300, 7] in base"));
  EXPECT_THAT(error_of("base + other", bindings), HasSubstr("I64 tensor 'ids' differs"));
  EXPECT_THAT(error_of("base + ft @ \"z.*\"", bindings), HasSubstr("matches no tensor"));
  EXPECT_THAT(error_of("ft @ \"v.*\"", bindings), HasSubstr("no term of the expression selects tensor 't.weight'"));
  EXPECT_THAT(error_of("base + ft", bindings, {.dtype = Dtype::I64}), HasSubstr("cannot be written as I64"));
  EXPECT_EQ(error_of("base + other", bindings, {.allow_differing_integers = true}), "no error");
}

TEST_F(EditTest, ASourceIsNotOverwritten) {
  const Bindings bindings{{"a", make("a", 1)}};
  EXPECT_THROW(run(plan(parse("2*a"), bindings), folder_ / "a.safetensors"), Error);
}

}  // namespace
}  // namespace taskvec::edit
