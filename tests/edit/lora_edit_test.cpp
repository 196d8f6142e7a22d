#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/executors/lora_sum.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/formats/lora/lora.h"
#include "taskvec/kernels/convert.h"
#include "tests/formats/adapter.h"
#include "tests/golden.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using namespace testing_adapters;
using testing::HasSubstr;
using Coefficients = std::map<std::string, double>;

/// Edits of a base with adapters against the definition, element by element.
class LoraEdit : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lora_edit_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    set_thread_count(0);
    fs::remove_all(folder_);
  }

  /// A base of three tensors, and two adapters that share one of them.
  void make_sources(Dtype dtype) {
    write_tensors(folder_ / "base.safetensors",
                  {{"h.q.weight", {70, 300}, dtype}, {"h.k.weight", {30, 300}, dtype}, {"norm.weight", {9}, dtype}}, 7);
    write_adapter(folder_ / "a",
                  {{"base_model.model.h.q.lora_A.weight", {4, 300}}, {"base_model.model.h.q.lora_B.weight", {70, 4}}});
    write_adapter(folder_ / "b",
                  {{"base_model.model.h.q.lora_A.weight", {3, 300}},
                   {"base_model.model.h.q.lora_B.weight", {70, 3}},
                   {"base_model.model.h.k.lora_A.weight", {4, 300}},
                   {"base_model.model.h.k.lora_B.weight", {30, 4}}},
                  R"("rank_pattern": {"q": 3}, "alpha_pattern": {"q": 5}, "use_rslora": true)", 2);
    bindings_ = {{"base", formats::open(folder_ / "base.safetensors")},
                 {"a", formats::open(folder_ / "a")},
                 {"b", formats::open(folder_ / "b")}};
  }

  std::shared_ptr<const formats::Checkpoint> edit(const std::string& text, const PlanOptions& options = {}) const {
    run(plan(parse(text), bindings_, options), folder_ / "out.safetensors");
    return formats::open(folder_ / "out.safetensors");
  }
  std::shared_ptr<const formats::Checkpoint> edit_as_lora(const std::string& text, const PlanOptions& options = {}) const {
    write_as_lora(plan(parse(text), bindings_, options), folder_ / "out");
    return formats::open(folder_ / "out");
  }
  std::string as_lora_error(const std::string& text) const {
    return message_of([&] { edit_as_lora(text); });
  }

  /// What an adapter's change of a tensor is in float64; zeros where it has none. @param n  elements of the tensor
  static std::vector<double> change(const formats::Checkpoint& source, const std::string& tensor, size_t n) {
    if (source.manifest().find(tensor) == nullptr) return std::vector<double>(n);
    const auto* adapter = dynamic_cast<const formats::LoraAdapter*>(&source);
    if (adapter == nullptr) return values(source, tensor);
    const auto& factors = adapter->factors().at(source.manifest().index.at(tensor));
    return dense(values(adapter->weights(), factors.a->name), values(adapter->weights(), factors.b->name),
                 static_cast<size_t>(factors.rank), factors.scale);
  }

  /// Every element within the output's rounding of the float64 sum, plus the float32 rounding of each dense change.
  void expect_sum(const formats::Checkpoint& out, const Coefficients& coefficients) const {
    for (const auto& entry : out.manifest().tensors) {
      const auto n = static_cast<size_t>(entry.info.numel());
      std::vector<double> expected(n), slack(n);
      for (const auto& [name, coefficient] : coefficients) {
        const auto addend = change(*bindings_.at(name), entry.name, n);
        for (size_t i = 0; i < n; ++i) {
          expected[i] += coefficient * addend[i];
          slack[i] += std::ldexp(std::abs(coefficient * addend[i]), -24);
        }
      }
      const int bits = entry.info.dtype == Dtype::BF16 ? 8 : 24;
      const auto actual = values(out, entry.name);
      for (size_t i = 0; i < n; ++i)
        ASSERT_LE(std::abs(actual[i] - expected[i]), std::ldexp(std::abs(expected[i]), -bits) * 1.0001 + slack[i])
            << entry.name << " " << i;
    }
  }

  /// Every A is the sources' As one below the other, every B their Bs side by side, times coefficient and scale, rounded once:
  /// so the change is the exact sum up to that rounding. @param addends  in the order of the expression
  void expect_stacked(const formats::Checkpoint& out, const std::vector<std::pair<std::string, double>>& addends) const {
    const auto& sum = dynamic_cast<const formats::LoraAdapter&>(out);
    for (const auto& factors : sum.factors()) {
      const auto a = values(sum.weights(), factors.a->name), b = values(sum.weights(), factors.b->name);
      const auto rank = static_cast<size_t>(factors.rank), in = a.size() / rank, rows = b.size() / rank;
      EXPECT_EQ(factors.scale, 1.0);
      size_t k = 0;
      for (const auto& [name, coefficient] : addends) {
        const auto& adapter = dynamic_cast<const formats::LoraAdapter&>(*bindings_.at(name));
        const auto found = adapter.manifest().index.find(factors.module + ".weight");
        if (found == adapter.manifest().index.end()) continue;
        const auto& part = adapter.factors()[found->second];
        const auto part_a = values(adapter.weights(), part.a->name), part_b = values(adapter.weights(), part.b->name);
        const auto n = static_cast<size_t>(part.rank);
        for (size_t i = 0; i < n * in; ++i) ASSERT_EQ(a[k * in + i], part_a[i]) << factors.module;
        for (size_t row = 0; row < rows; ++row)
          for (size_t i = 0; i < n; ++i)
            ASSERT_EQ(b[row * rank + k + i], static_cast<float>(part_b[row * n + i] * (coefficient * part.scale)))
                << factors.module;
        k += n;
      }
      EXPECT_EQ(k, rank) << factors.module;
    }
  }

  fs::path folder_;
  Bindings bindings_;
};

TEST_F(LoraEdit, SumsNegationsAveragesAndScalingsAreThoseOfTheDenseForms) {
  for (const Dtype dtype : {Dtype::F32, Dtype::BF16}) {
    make_sources(dtype);
    expect_sum(*edit("base + a"), {{"base", 1}, {"a", 1}});
    expect_sum(*edit("base - 1*a"), {{"base", 1}, {"a", -1}});
    expect_sum(*edit("base + 0.4*a + 0.3*b"), {{"base", 1}, {"a", 0.4}, {"b", 0.3}});
    expect_sum(*edit("(a + b)/2 + base"), {{"base", 1}, {"a", 0.5}, {"b", 0.5}});
    EXPECT_EQ(edit("base + a")->entry("h.q.weight").info.dtype, dtype);
  }
}

TEST_F(LoraEdit, TheSameBytesForAnyThreadCountAndReproducible) {
  make_sources(Dtype::BF16);
  set_thread_count(1);
  const std::string expected = edit("base + 0.4*a - b")->fingerprint();
  set_thread_count(3);
  const auto again = edit("base + 0.4*a - b");
  EXPECT_EQ(again->fingerprint(), expected);
  EXPECT_TRUE(reproduce(*again, {}).empty());
}

TEST_F(LoraEdit, ATensorThatNoAdapterChangesIsCopied) {
  make_sources(Dtype::BF16);
  EXPECT_TRUE(std::ranges::equal(edit("base + a")->tensor("norm.weight").view.bytes,
                                 bindings_.at("base")->tensor("norm.weight").view.bytes));
}

TEST_F(LoraEdit, AnAdapterOfAnotherModelIsNamed) {
  make_sources(Dtype::F32);
  write_tensors(folder_ / "other.safetensors", {{"h.query.weight", {70, 300}}, {"h.k.weight", {30, 300}}}, 7);
  bindings_["base"] = formats::open(folder_ / "other.safetensors");
  EXPECT_THROW(plan(parse("base + a"), bindings_), Error);
  write_tensors(folder_ / "other.safetensors", {{"h.q.weight", {300, 70}}, {"h.k.weight", {30, 300}}}, 7);
  bindings_["base"] = formats::open(folder_ / "other.safetensors");
  EXPECT_THROW(plan(parse("base + a"), bindings_), Error);
}

TEST_F(LoraEdit, ASumOfAdaptersStaysAnAdapter) {
  make_sources(Dtype::F32);
  const auto sum = edit_as_lora("0.5*a - 0.25*b");
  expect_stacked(*sum, {{"a", 0.5}, {"b", -0.25}});
  const auto& factors = dynamic_cast<const formats::LoraAdapter&>(*sum).factors();
  ASSERT_EQ(factors.size(), 2U);
  EXPECT_EQ(factors[0].rank, 4);      // h.k, of b alone
  EXPECT_EQ(factors[1].rank, 4 + 3);  // h.q
  EXPECT_EQ(sum->manifest().metadata.at("taskvec.expression"), "0.5*a - 0.25*b");
}

TEST_F(LoraEdit, AsLoraRefusesWhatIsNoAdapter) {
  make_sources(Dtype::F32);
  EXPECT_THAT(as_lora_error("base + a"), testing::AllOf(HasSubstr("source 'base'"), HasSubstr("not a LoRA adapter")));
  EXPECT_THAT(as_lora_error("a - a"), HasSubstr("is zero for every module"));
  write_adapter(folder_ / "t",
                {{"base_model.model.h.q.lora_A.weight", {4, 70}}, {"base_model.model.h.q.lora_B.weight", {300, 4}}},
                R"("fan_in_fan_out": true)");
  bindings_["t"] = formats::open(folder_ / "t");
  EXPECT_THAT(as_lora_error("a + t"), HasSubstr("module 'h.q' does not have the same fan_in_fan_out"));
  EXPECT_THROW(write_as_lora(plan(parse("2*a"), bindings_), folder_ / "a"), Error);
  EXPECT_THROW(write_as_lora(plan(parse("2*a"), bindings_), folder_ / "x.safetensors"), Error);
  edit_as_lora("2*a");
  EXPECT_THROW(reproduce(*formats::open(folder_ / "out"), {}), Error);
}

/// The inputs that mergekit's golden merges were made of.
class GoldenLoraEdit : public LoraEdit {
 protected:
  void SetUp() override {
    LoraEdit::SetUp();
    inputs_ = golden::folder() / "mergekit";
    if (!fs::exists(inputs_ / "inputs" / "lora0")) TASKVEC_NO_GOLDEN("mergekit/inputs");
    for (const char* name : {"base", "base-bf16", "lora0", "lora1-rslora"})
      bindings_[std::string(name) == "base-bf16" ? "bf16" : std::string(name).substr(0, 5)] =
          formats::open(inputs_ / "inputs" / name);
    bindings_["base"] = formats::open(inputs_ / "inputs" / "base");
  }
  fs::path inputs_;
};

TEST_F(GoldenLoraEdit, EqualsTheDenseFormsInFloat64) {
  for (const std::string base : {"base", "bf16"}) {
    expect_sum(*edit(base + " + lora0 + lora1"), {{base, 1}, {"lora0", 1}, {"lora1", 1}});
    expect_sum(*edit(base + " - 1*lora0"), {{base, 1}, {"lora0", -1}});
    expect_sum(*edit(base + " + (lora0 + lora1)/2"), {{base, 1}, {"lora0", 0.5}, {"lora1", 0.5}});
    expect_sum(*edit(base + " + 0.3*lora1"), {{base, 1}, {"lora1", 0.3}});
  }
  expect_stacked(*edit_as_lora("0.5*lora0 + 0.5*lora1"), {{"lora0", 0.5}, {"lora1", 0.5}});
}

struct Merge {
  const char* expression;
  const char* name;
};

/// mergekit merges in float32, so the bound is that of its README: 1e-6 of the largest element.
TEST_F(GoldenLoraEdit, EqualsMergekit) {
  for (const auto& [expression, name] :
       {Merge{"base + lora0", "lora_passthrough"}, {"base + lora0 - 0.5*lora1", "lora_negation"}}) {
    const auto expected = formats::open(inputs_ / "cases" / name / "expected.safetensors");
    const auto actual = edit(expression);
    for (const auto& entry : expected->manifest().tensors) {
      const auto a = values(*actual, entry.name), b = values(*expected, entry.name);
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

}  // namespace
}  // namespace taskvec::edit
