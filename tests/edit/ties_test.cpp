#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/provenance.h"
#include "tests/formats/adapter.h"
#include "tests/golden.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_adapters::values;
using Values = std::vector<std::pair<std::string, std::vector<float>>>;

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ties_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    set_thread_count(0);
    fs::remove_all(folder_);
  }
  std::shared_ptr<const formats::Checkpoint> edited(const std::string& expression, const Bindings& bindings,
                                                    const PlanOptions& options = {}) {
    const fs::path out = folder_ / ("out" + std::to_string(made_++) + ".safetensors");
    run(plan(parse(expression), bindings, options), out);
    return formats::open(out);
  }
  fs::path folder_;
  int made_ = 0;
};

class TiesMerge : public Folder {
 protected:
  void make(const std::string& name, const Values& tensors) {
    formats::OutputLayout layout;
    for (const auto& [tensor, elements] : tensors)
      layout.tensors.push_back({tensor, {Dtype::F32, {static_cast<int64_t>(elements.size())}}, 0});
    formats::CheckpointWriter writer(folder_ / (name + ".safetensors"), layout);
    for (size_t t = 0; t < tensors.size(); ++t) writer.write(t, 0, std::as_bytes(std::span(tensors[t].second)));
    writer.commit();
    bindings_[name] = formats::open(folder_ / (name + ".safetensors"));
  }
  /// x of `base`, `a` and `b`, where base is 0.
  void make_vectors(const std::vector<float>& a, const std::vector<float>& b) {
    make("base", {{"x", std::vector<float>(a.size())}});
    make("a", {{"x", a}});
    make("b", {{"x", b}});
  }
  std::vector<double> x(const std::string& expression) { return values(*edited(expression, bindings_), "x"); }
  std::string error_of(const std::string& expression) {
    return message_of([&] { plan(parse(expression), bindings_); });
  }
  Bindings bindings_;
};

TEST_F(TiesMerge, TrimsElectsAndAverages) {
  make_vectors({4, -3, 1, 0.5, 2}, {2, 5, -2, 0.25, -1});
  // The two largest of each: a keeps 4 and -3, b 2 and 5 (of 2 and -2 the first).
  EXPECT_THAT(x("base + ties(a - base, b - base, density=0.4, semantics=mergekit)"), ElementsAre(3, 5, 0, 0, 0));
  EXPECT_THAT(x("base + ties(a - base, b - base, density=0.4, semantics=mergekit, normalize=false)"), ElementsAre(6, 5, 0, 0, 0));
  EXPECT_THAT(x("base + 0.5*ties(a - base, b - base, density=0.4, semantics=mergekit)"), ElementsAre(1.5, 2.5, 0, 0, 0));
  // The authors' threshold is the (n - 2)-th smallest magnitude, and all that is as large stays: 4 -3 2 and 5 2 -2.
  EXPECT_THAT(x("base + ties(a - base, b - base, density=0.4)"), ElementsAre(3, 5, -2, 0, 2));
}

TEST_F(TiesMerge, OfEqualMagnitudesTheFirstAreKept) {
  std::vector<float> a(10'000, 1), b(10'000);
  for (size_t i = 0; i < a.size(); i += 2) a[i] = -1;
  make_vectors(a, b);
  const auto merged = x("base + ties(a - base, b - base, density=0.5, semantics=mergekit)");
  for (size_t i = 0; i < merged.size(); ++i) ASSERT_EQ(merged[i], i < 5000 ? a[i] : 0) << i;
}

TEST_F(TiesMerge, ASumOfZeroElectsPlusOrTheMajority) {
  make_vectors({1, -5, -6, -7}, {-1, -5, -6, -7});
  EXPECT_THAT(x("base + ties(a - base, b - base, density=1, semantics=mergekit)"), ElementsAre(1, -5, -6, -7));
  EXPECT_THAT(x("base + ties(a - base, b - base, density=1)"), ElementsAre(-1, -5, -6, -7));
}

TEST_F(TiesMerge, TheModelOrTheTensorIsTrimmed) {
  make("base", {{"x", {0, 0}}, {"y", {0, 0}}});
  make("a", {{"x", {1, 2}}, {"y", {30, 40}}});
  const std::string call = "base + ties(a - base, density=0.5";
  EXPECT_THAT(x(call + ", semantics=mergekit)"), ElementsAre(0, 2));
  EXPECT_THAT(x(call + ")"), ElementsAre(0, 2));  // of four, the authors keep three
  EXPECT_THAT(x("base + ties(a - base, density=0.25)"), ElementsAre(0, 0));
}

TEST_F(TiesMerge, AModelIsTrimmedAsAWholeWhateverIsChangedOfIt) {
  make("base", {{"x", {0, 0, 0}}, {"y", {0, 0, 0}}});
  make("a", {{"x", {1, 2, 3}}, {"y", {10, 20, 30}}});
  // Of six the authors keep four: 3 of x.
  EXPECT_THAT(x("base + ties(a - base, density=0.5)"), ElementsAre(0, 0, 3));
  EXPECT_THAT(x("base + ties(a - base, density=0.5) @ \"x\""), ElementsAre(0, 0, 3));
  EXPECT_THAT(x("base + ties(a - base, density=0.5) @ \"x\" + 0*ties(a - base, density=0.5) @ \"y\""), ElementsAre(0, 0, 3));
  EXPECT_THAT(x("base + ties((a - base) @ \"x\", density=0.5)"), ElementsAre(1, 2, 3));         // y is 0
  EXPECT_THAT(x("base + ties(a - base @ \"x\", density=0.25) @ \"x\""), ElementsAre(0, 0, 3));  // a model in y is not looked at
  EXPECT_THAT(values(*edited("base + ties(a - base, density=0.5) @ \"x\"", bindings_), "y"), ElementsAre(0, 0, 0));
}

TEST_F(TiesMerge, ElementsThatAreNotFiniteHaveNoPlaceAmongMagnitudes) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto error = [&] { return message_of([&] { x("base + ties(a - base, b - base, density=1, semantics=mergekit)"); }); };
  make("base", {{"x", {-infinity, 1, 0}}});
  make("a", {{"x", {-infinity, 3, 0}}});
  make("b", {{"x", {-infinity, 1, 5}}});
  EXPECT_THAT(x("base + ties(a - base, b - base, density=1)"), ElementsAre(-infinity, 3, 5));
  make("b", {{"x", {-infinity, nan, 5}}});
  EXPECT_THAT(error(), AllOf(HasSubstr("tensor 'x'"), HasSubstr("NaN or infinite")));
  make("b", {{"x", {-infinity, infinity, 5}}});
  EXPECT_THAT(error(), HasSubstr("NaN or infinite"));
  make("base", {{"x", {-3e38F}}});
  make("a", {{"x", {3e38F}}});
  make("b", {{"x", {3e38F}}});
  EXPECT_THAT(error(), HasSubstr("too large for float32"));
  make("base", {{"x", {0}}});
  EXPECT_THAT(message_of([&] { x("base + 0.1*ties(a - base, b - base, density=1, normalize=false)"); }),
              HasSubstr("comes to more than float32 holds"));
  EXPECT_THAT(x("base + ties(a - base, b - base, density=1, semantics=mergekit, weight2=0)"), ElementsAre(3e38F));
}

TEST_F(TiesMerge, PatternsCoefficientsAndOtherTerms) {
  make_vectors({4, -3}, {2, 5});
  EXPECT_THAT(x("base + ties(a - base, b - base, density=1) @ !\"x\" + 0.5*a"), ElementsAre(2, -1.5));
  const PlanOptions options{.coefficients = {{"d", 0.5}, {"s", 2}}};
  EXPECT_THAT(values(*edited("base + $s*ties(a - base, density=$d, semantics=mergekit)", bindings_, options), "x"),
              ElementsAre(8, 0));
  // A call in a call.
  EXPECT_THAT(x("base + ties(ties(a - base, density=0.5, semantics=mergekit), b - base, density=1)"), ElementsAre(3, 5));
}

TEST_F(TiesMerge, MistakesAreNamed) {
  make_vectors({1}, {2});
  EXPECT_THAT(error_of("ties(a - base, densty=0.2)"), HasSubstr("ties has no parameter 'densty'; did you mean 'density'?"));
  EXPECT_THAT(error_of("base + ties(a - base, density=20)"), HasSubstr("density is 20; expected a number from 0 to 1"));
  EXPECT_THAT(error_of("base + ties(a - base, density2=0.5)"), HasSubstr("density2 is for argument 2, but there are 1"));
  EXPECT_THAT(error_of("base + ties(a - base, semantics=mine)"), HasSubstr("semantics takes one of paper, mergekit"));
  EXPECT_THAT(error_of("base + ties(a, b)"), HasSubstr("write differences, as in a - base"));
  EXPECT_THAT(error_of("base + ties(density=0.2)"), HasSubstr("at least 1 weights"));
  EXPECT_THAT(error_of("base + ties(a - base, density=0.2, b - base)"), HasSubstr("weights come before parameters"));
  EXPECT_THAT(error_of("base + ties(a - base, weight=0.5)"), HasSubstr("semantics=mergekit"));
  EXPECT_THAT(error_of("base + tie(a - base)"), HasSubstr("did you mean 'ties'?"));
  const Expr expr = parse("base + ties(a - base, 2*(b - base), density=$d/2, weight2=-0.5, semantics=mergekit)");
  EXPECT_EQ(parse(to_string(expr)), expr);
  EXPECT_EQ(expr.coefficients(), std::vector<std::string>{"d"});
}

class TiesOfManyTensors : public TiesMerge {
 protected:
  void SetUp() override {
    TiesMerge::SetUp();
    const std::vector<size_t> sizes{5, 1, 70'000, 4096, 300'000, 12'345, 3, 0, 8192};
    for (const std::string name : {"base", "a", "b", "c"}) {
      Values tensors;
      for (size_t t = 0; t < sizes.size(); ++t) {
        const Philox random(7, name + std::to_string(t));
        std::vector<float> elements(sizes[t]);
        for (size_t i = 0; i < elements.size(); ++i)  // few values, so that many are equal
          elements[i] = static_cast<float>(static_cast<int>(random.below(i, 41)) - 20) / 16;
        tensors.emplace_back("t" + std::to_string(t), elements);
      }
      make(name, tensors);
    }
  }
};

TEST_F(TiesOfManyTensors, AreTheSameOnAnyThreadCountInMemoryAndWhenReproduced) {
  for (const std::string more :
       {"", ", semantics=mergekit", ", semantics=mergekit, rescale=true, normalize=false, weight2=-0.5"}) {
    const std::string call = "ties(a - base, b - base, c - base, density=0.3" + more + ")";
    set_thread_count(1);
    const auto one = edited("base + 0.7*" + call, bindings_);
    set_thread_count(3);
    const auto three = edited("base + 0.7*" + call, bindings_);
    EXPECT_EQ(one->fingerprint(), three->fingerprint()) << more;
    EXPECT_THAT(reproduce(*three, {}), testing::IsEmpty());

    struct Sink : ParamSink {
      std::map<size_t, std::vector<std::byte>> written;
      size_t calls = 0;
      std::span<std::byte> tensor(size_t index, const TensorPlan& tensor) override {
        ++calls;
        written[index].resize(static_cast<size_t>(tensor.info.nbytes()));
        return written[index];
      }
    } sink;
    Resident resident(parse("base + $x*" + call), bindings_);
    resident.apply(std::vector<double>{0.2}, sink);
    resident.apply(std::vector<double>{0.7}, sink);
    for (const auto& [index, bytes] : sink.written) {
      const auto expected = one->tensor(resident.layout().tensors[index].name);
      EXPECT_TRUE(std::ranges::equal(bytes, expected.view.bytes)) << more << " " << index;
    }
    const size_t calls = sink.calls;
    resident.apply(std::vector<double>{0.7}, sink);
    EXPECT_EQ(sink.calls, calls);
  }
}

/// mergekit's own merges. The bounds are those of the README beside them.
class GoldenTies : public Folder {
 protected:
  void SetUp() override {
    Folder::SetUp();
    golden_ = golden::folder() / "mergekit";
    if (!fs::exists(golden_ / "inputs" / "ft0")) TASKVEC_NO_GOLDEN("mergekit/inputs");
  }
  Bindings inputs(const std::string& suffix = "") const {
    Bindings bindings;
    for (const std::string name : {"base", "ft0", "ft1", "ft2"})
      bindings[name] = formats::open(golden_ / "inputs" / (name + suffix));
    return bindings;
  }
  std::shared_ptr<const formats::Checkpoint> expected(const std::string& name) const {
    return formats::open(golden_ / "cases" / name / "expected.safetensors");
  }
  fs::path golden_;
};

TEST_F(GoldenTies, EqualMergekitInFloat32) {
  const std::string three = "ft0 - base, ft1 - base, ft2 - base, semantics=mergekit";
  const auto gradient = [](double first, double second) {
    return fmt::format("ties(ft0 - base, ft1 - base, density1={}, density2={}, weight2=0.5, semantics=mergekit)", first, second);
  };
  const std::vector<std::tuple<std::string, std::string, std::string>> cases{
      {"ties_d20", "base + ties(" + three + ", density=0.2)", ""},
      {"ties_d50_sum", "base + ties(" + three + ", density=0.5, weight=0.5, normalize=false)", ""},
      {"ties_density_per_model",
       "base + 0.8*ties(" + three + ", density1=0.2, density2=0.5, density3=0.8, weight1=0.9, weight2=0.6, weight3=0.3)", ""},
      {"ties_negative_weight_normalized", "base + ties(" + three + ", density=0.6, weight2=-0.5, weight3=0.75)", ""},
      {"ties_rescale",
       "base + ties(" + three + ", density=0.4, weight1=0.7, weight2=0.3, weight3=0.5, rescale=true, normalize=false)", ""},
      {"ties_lambda_int8", "base + 1.5*ties(" + three + ", density=0.3, weight=0.4, normalize=false)", ""},
      {"ties_bf16_d100_f32", "base + ties(" + three + ", density=1, weight1=0.5, weight3=0.25)", "-bf16"},
      {"ties_density_gradient",
       "base + " + gradient(0.1, 1) + " @ !\"*.layers.1.*\" @ !\"*.layers.2.*\" + " + gradient(0.5, 0.3) +
           " @ \"*.layers.1.*\" + " + gradient(0.9, 0.6) + " @ \"*.layers.2.*\"",
       ""}};
  for (const auto& [name, expression, suffix] : cases) {
    const auto wanted = expected(name);
    const auto made = edited(expression, inputs(suffix), {.dtype = Dtype::F32});
    ASSERT_EQ(made->manifest().tensors.size(), wanted->manifest().tensors.size());
    for (const auto& entry : wanted->manifest().tensors) {
      const auto a = values(*made, entry.name), b = values(*wanted, entry.name);
      ASSERT_EQ(a.size(), b.size());
      double largest = 0, difference = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        largest = std::max(largest, std::abs(b[i]));
        difference = std::max(difference, std::abs(a[i] - b[i]));
      }
      EXPECT_LE(difference, 1e-6 * largest) << name << " " << entry.name;
    }
  }
}

TEST_F(GoldenTies, EqualMergekitInBfloat16WhichRoundsOnTheWay) {
  const Bindings bindings = inputs("-bf16");
  const auto wanted = expected("ties_bf16_d50");
  const auto made = edited("base + ties(ft0 - base, ft1 - base, ft2 - base, density=0.5, semantics=mergekit)", bindings);
  size_t equal = 0, all = 0;
  for (const auto& entry : wanted->manifest().tensors) {
    const auto a = values(*made, entry.name), b = values(*wanted, entry.name), base = values(*bindings.at("base"), entry.name);
    std::vector<std::vector<double>> tuned;
    for (const char* name : {"ft0", "ft1", "ft2"}) tuned.push_back(values(*bindings.at(name), entry.name));
    for (size_t i = 0; i < a.size(); ++i) {
      double delta = 0;
      for (const auto& ft : tuned) delta = std::max(delta, std::abs(ft[i] - base[i]));
      ASSERT_LE(std::abs(a[i] - b[i]), std::ldexp(2, -8) * (std::abs(b[i]) + delta)) << entry.name << " " << i;
      equal += a[i] == b[i] ? 1 : 0;
      ++all;
    }
  }
  EXPECT_GE(static_cast<double>(equal), 0.8 * static_cast<double>(all));
}

}  // namespace
}  // namespace taskvec::edit
