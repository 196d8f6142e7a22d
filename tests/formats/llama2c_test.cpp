#include "taskvec/formats/llama2c.h"

#include "tests/formats/builders/llama2c_builder.h"
#include "tests/formats/file_test.h"

#include <cstdlib>

namespace taskvec::formats {
namespace {

using llama2c_builder::tiny;

class Llama2cTest : public FileTest {};

TEST_F(Llama2cTest, TensorsHaveTheirNamesShapesAndPlaces) {
  const auto file = open(write(tiny(), "m.bin"));
  const auto& manifest = file->manifest();
  EXPECT_EQ(manifest.format, "llama2.c");
  EXPECT_EQ(manifest.tensors.size(), 1U + 9 * 2 + 1);
  EXPECT_EQ(manifest.metadata.at("num_key_value_heads"), "1");
  EXPECT_EQ(manifest.metadata.at("tie_word_embeddings"), "true");
  EXPECT_EQ(manifest.find("lm_head.weight"), nullptr);
  EXPECT_EQ(values<float>(*file, "model.layers.1.input_layernorm.weight")[0], 40 + 8);
  EXPECT_EQ(file->entry("model.layers.1.self_attn.v_proj.weight").info.shape, (Shape{4, 8}));
  EXPECT_EQ(values<float>(*file, "model.layers.1.self_attn.v_proj.weight")[0], 40 + 2 * (8 + 64 + 32) + 32);
  EXPECT_EQ(values<float>(*file, "model.norm.weight")[0], 40 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 24 + 24 + 24));
}

TEST_F(Llama2cTest, AClassifierOfItsOwnIsTheLast) {
  const auto file = open(write(tiny(false), "m.bin"));
  EXPECT_EQ(file->manifest().metadata.at("tie_word_embeddings"), "false");
  EXPECT_EQ(values<float>(*file, "lm_head.weight")[0], 40 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 24 + 24 + 24) + 8 + 24);
}

TEST_F(Llama2cTest, RowsOfQueriesAreInTheOrderOfHuggingFace) {
  const auto file = open(write(tiny(), "m.bin"));
  const auto q = values<float>(*file, "model.layers.0.self_attn.q_proj.weight");
  const float first = 40 + 2 * 8;
  // Per head of four rows: the even ones, then the odd ones.
  const std::vector<float> rows{0, 2, 1, 3, 4, 6, 5, 7};
  for (size_t row = 0; row < 8; ++row)
    for (size_t column = 0; column < 8; ++column)
      EXPECT_EQ(q[8 * row + column], first + 8 * rows[row] + static_cast<float>(column));
  for (size_t begin = 0; begin < 64; begin += 5) {
    const TensorRange range(*file, file->entry("model.layers.0.self_attn.q_proj.weight"), 4 * begin, 4 * (64 - begin));
    EXPECT_EQ(std::memcmp(range.bytes().data(), q.data() + begin, range.bytes().size()), 0) << begin;
  }
}

TEST_F(Llama2cTest, AnotherSizeIsNotTakenForAModel) {
  const std::string bytes = tiny();
  EXPECT_TRUE(is_llama2c(std::as_bytes(std::span(bytes))));
  const auto shorter = std::as_bytes(std::span(bytes)).first(bytes.size() - 1);
  EXPECT_FALSE(is_llama2c(shorter));
  EXPECT_FALSE(is_llama2c(shorter.first(27)));
  EXPECT_FALSE(is_llama2c({}));
}

TEST_F(Llama2cTest, NumbersThatMakeNoSenseAreNotTakenForAModel) {
  const std::string bytes = tiny();
  for (size_t field = 0; field < 7; ++field) {
    for (const int32_t number : {0, INT32_MIN, INT32_MAX, 7}) {
      std::string changed = bytes;
      std::memcpy(changed.data() + 4 * field, &number, 4);
      EXPECT_FALSE(is_llama2c(std::as_bytes(std::span(changed)))) << field << " " << number;
    }
  }
}

TEST_F(Llama2cTest, GoldenStoriesModel) {
  const char* set = std::getenv("TASKVEC_GOLDEN");
  const std::filesystem::path golden = set != nullptr ? set : TASKVEC_SOURCE_DIR "/../shared/golden";
  const auto model = golden.parent_path() / "data/text/tinystories260k/stories260K.bin";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no " << model;
  const auto file = open(model);
  EXPECT_EQ(file->manifest().format, "llama2.c");
  EXPECT_EQ(file->entry("model.layers.4.self_attn.k_proj.weight").info.shape, (Shape{32, 64}));
  int64_t parameters = 0;
  for (const auto& tensor : file->manifest().tensors) parameters += tensor.info.numel();
  EXPECT_EQ(parameters, 260032);
}

}  // namespace
}  // namespace taskvec::formats
