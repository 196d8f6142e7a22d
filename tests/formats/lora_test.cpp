#include "taskvec/formats/lora/lora.h"
#include "taskvec/core/error.h"
#include "tests/formats/adapter.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using namespace testing_adapters;
using testing::HasSubstr;

const std::vector<Factor> kQuery{{"base_model.model.h.0.q.lora_A.weight", {4, 300}},
                                 {"base_model.model.h.0.q.lora_B.weight", {70, 4}}};

class LoraTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lora_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string error_of(const std::vector<Factor>& factors, const std::string& options = "") const {
    return message_of([&] { open(write_adapter(folder_ / "a", factors, options)); });
  }

  /// The adapter's dense tensor, the definition of it rounded once, for the factors of one module.
  void expect_dense(const fs::path& path, const std::string& tensor, const Shape& shape, double scale, bool transposed = false) {
    const auto adapter = open(path);
    ASSERT_EQ(adapter->entry(tensor).info, (TensorInfo{Dtype::F32, shape}));
    const auto& factors = dynamic_cast<const LoraAdapter&>(*adapter).factors().at(adapter->manifest().index.at(tensor));
    const auto& weights = dynamic_cast<const LoraAdapter&>(*adapter).weights();
    const auto a = values(weights, factors.a->name), b = values(weights, factors.b->name);
    const auto rank = static_cast<size_t>(factors.rank);
    const auto expected = dense(a, b, rank, scale);
    const auto actual = values(*adapter, tensor);
    const size_t in = a.size() / rank, out = b.size() / rank;
    for (size_t r = 0; r < out; ++r)
      for (size_t c = 0; c < in; ++c)
        ASSERT_EQ(actual[transposed ? c * out + r : r * in + c], static_cast<float>(expected[r * in + c])) << r << " " << c;
  }

  fs::path folder_;
};

TEST_F(LoraTest, IsATaskVectorOfTheTensorsThatItChanges) {
  const auto adapter = open(write_adapter(folder_ / "a", kQuery));
  EXPECT_EQ(adapter->manifest().format, "LoRA adapter");
  EXPECT_TRUE(adapter->manifest().delta);
  ASSERT_EQ(adapter->manifest().tensors.size(), 1U);
  expect_dense(folder_ / "a", "h.0.q.weight", {70, 300}, 8.0 / 4);
}

TEST_F(LoraTest, EveryRangeGivesTheSameBytes) {
  const auto adapter = open(write_adapter(folder_ / "a", kQuery));
  const auto whole = adapter->tensor("h.0.q.weight");
  for (const auto& [first, n] : {std::pair{0, 1}, {299, 2}, {150, 700}, {300, 600}, {20999, 1}, {1, 20998}}) {
    const TensorRange range(*adapter, adapter->entry("h.0.q.weight"), 4U * static_cast<uint64_t>(first),
                            4U * static_cast<uint64_t>(n));
    EXPECT_TRUE(
        std::ranges::equal(range.bytes(), whole.view.bytes.subspan(4U * static_cast<size_t>(first), 4U * static_cast<size_t>(n))))
        << first << " " << n;
  }
}

TEST_F(LoraTest, RankStabilisedAdaptersScaleByTheRoot) {
  expect_dense(write_adapter(folder_ / "a", kQuery, R"("use_rslora": true)"), "h.0.q.weight", {70, 300}, 8 / std::sqrt(4.0));
}

TEST_F(LoraTest, PatternsChooseRankAndAlphaTheFirstMatchCounts) {
  std::vector<Factor> factors = kQuery;
  factors.push_back({"base_model.model.h.11.q.lora_A.weight", {200, 9}});  // more than one block of the product
  factors.push_back({"base_model.model.h.11.q.lora_B.weight", {5, 200}});
  write_adapter(folder_ / "a", factors,
                R"("rank_pattern": {"1.q": 200, "q": 4}, "alpha_pattern": {"^1.q": 9, "h\\.\\d+\\.q": 3})");
  EXPECT_THAT(error_of(factors, R"("rank_pattern": {"1.q": 200})"), HasSubstr("has rank 200, but adapter_config.json says 4"));
  write_adapter(folder_ / "a", factors,
                R"("rank_pattern": {"h.1[0-9].q": 200}, "alpha_pattern": {"^1.q": 9, "h\\.\\d+\\.q": 3})");
  expect_dense(folder_ / "a", "h.0.q.weight", {70, 300}, 3.0 / 4);
  expect_dense(folder_ / "a", "h.11.q.weight", {5, 9}, 3.0 / 200);
}

TEST_F(LoraTest, FanInFanOutAndEmbeddingsAreTransposed) {
  expect_dense(write_adapter(folder_ / "a", kQuery, R"("fan_in_fan_out": true)"), "h.0.q.weight", {300, 70}, 2, true);
  const std::vector<Factor> embedding{{"base_model.model.wte.lora_embedding_A", {4, 50}},
                                      {"base_model.model.wte.lora_embedding_B", {7, 4}},
                                      {"base_model.model.wte.base_layer.weight", {50, 7}}};
  expect_dense(write_adapter(folder_ / "e", embedding), "wte.weight", {50, 7}, 2, true);
}

TEST_F(LoraTest, ConvolutionsAdapterNamesAndOtherDtypes) {
  expect_dense(write_adapter(folder_ / "a", {{"base_model.model.c.lora_A.default.weight", {4, 3, 2, 2}, Dtype::BF16},
                                             {"base_model.model.c.lora_B.default.weight", {6, 4, 1, 1}, Dtype::BF16}}),
               "c.weight", {6, 3, 2, 2}, 2);
}

TEST(ModulePattern, MatchesAsPeftDoes) {
  const auto matches = [](const char* pattern, const char* name) { return ModulePattern(pattern, "test").matches(name); };
  EXPECT_TRUE(matches("q_proj", "model.layers.0.q_proj"));
  EXPECT_FALSE(matches("proj", "model.layers.0.q_proj"));
  EXPECT_TRUE(matches("layers.0.q_proj", "model.layers.0.q_proj"));
  EXPECT_FALSE(matches("layers.0.q_proj", "model.layers.10.q_proj"));
  EXPECT_FALSE(matches("^layers.0.q_proj", "model.layers.0.q_proj"));
  EXPECT_TRUE(matches("layers\\.[0-4]\\..*proj$", "model.layers.3.mlp.up_proj"));
  EXPECT_FALSE(matches("layers\\.[^0-4]\\..*", "model.layers.3.mlp"));
  EXPECT_TRUE(matches("up|down", "mlp.down"));
  EXPECT_TRUE(matches("a+b?c", "x.aaac"));
  EXPECT_FALSE(matches("a+b?c", "x.c"));
  EXPECT_THROW(matches("(0|1)", "1"), Error);
}

struct Refused {
  const char* options;
  const char* message;
};

class RefusedOptionTest : public LoraTest, public testing::WithParamInterface<Refused> {};

TEST_P(RefusedOptionTest, IsNamed) { EXPECT_THAT(error_of(kQuery, GetParam().options), HasSubstr(GetParam().message)); }

INSTANTIATE_TEST_SUITE_P(
    Options, RefusedOptionTest,
    testing::Values(Refused{R"("use_dora": true)", "use_dora is true: DoRA rescales"},
                    Refused{R"("peft_type": "IA3")", "peft_type is \"IA3\"; taskvec reads LORA"},
                    Refused{R"("bias": "lora_only")", "bias is \"lora_only\": biases were trained too"},
                    Refused{R"("modules_to_save": ["score"])", "modules_to_save is [\"score\"]: whole modules are replaced"},
                    Refused{R"("layer_replication": [[0, 2]])", "layers of the base are repeated"},
                    Refused{R"("init_lora_weights": "pissa")", "moves a part of the base into the adapter"},
                    Refused{R"("use_something_new": true)", "option 'use_something_new' is set"},
                    Refused{R"("lora_alpha": 1e999)", "is not a JSON object"},
                    Refused{R"("lora_alpha": "8")", "lora_alpha is \"8\"; expected a finite number"},
                    Refused{R"("r": 0)", "r is 0; expected a whole number from 1"},
                    Refused{R"x("rank_pattern": {"(a|b)": 3})x", "pattern '(a|b)' uses '(' in a way that taskvec does not read"},
                    Refused{R"("auto_mapping": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]])", "nested more than 16 levels deep"}));

struct RefusedTensors {
  std::vector<Factor> factors;
  const char* message;
};

class RefusedTensorTest : public LoraTest, public testing::WithParamInterface<RefusedTensors> {};

TEST_P(RefusedTensorTest, IsNamed) { EXPECT_THAT(error_of(GetParam().factors), HasSubstr(GetParam().message)); }

INSTANTIATE_TEST_SUITE_P(
    Tensors, RefusedTensorTest,
    testing::Values(
        RefusedTensors{{kQuery[0]}, "has no partner: factor B of module 'h.0.q' is missing"},
        RefusedTensors{{kQuery[0], {kQuery[1].name, {70, 5}}}, "are no factors of one matrix"},
        RefusedTensors{{{kQuery[0].name, {5, 300}}, {kQuery[1].name, {70, 5}}}, "has rank 5, but adapter_config.json says 4"},
        RefusedTensors{{kQuery[0], kQuery[1], {"base_model.model.score.weight", {2, 2}}},
                       "tensor 'base_model.model.score.weight' is no LoRA factor: it replaces a tensor of the base"},
        RefusedTensors{{kQuery[0], kQuery[1], {"base_model.model.h.0.q.lora_magnitude_vector", {70}}}, "belongs to DoRA"},
        RefusedTensors{{kQuery[0], kQuery[1], {"base_model.model.h.0.q.lora_A.other.weight", {4, 300}}},
                       "are both factor A of one module"},
        RefusedTensors{{kQuery[0], {kQuery[1].name, {70, 4}, Dtype::I32}}, "is I32; LoRA factors are floats"},
        RefusedTensors{{{"w", {1}}}, "holds no LoRA factors"}));

TEST_F(LoraTest, AFolderWithoutFactorsIsNamed) {
  fs::create_directory(folder_ / "a");
  write_file_atomically(folder_ / "a" / "adapter_config.json", "{}");
  try {
    open(folder_ / "a");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("neither adapter_model.safetensors nor adapter_model.bin"));
  }
}

}  // namespace
}  // namespace taskvec::formats
