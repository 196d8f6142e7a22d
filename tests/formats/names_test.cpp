#include "taskvec/formats/names.h"
#include "taskvec/core/error.h"
#include "tests/formats/adapter.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using namespace testing_adapters;
using testing::HasSubstr;

class NamesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "names_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<const Checkpoint> make(const std::vector<Factor>& tensors) const {
    write_tensors(folder_ / "x.safetensors", tensors, 1);
    return open(folder_ / "x.safetensors");
  }
  static std::string error_of(const std::shared_ptr<const Checkpoint>& checkpoint, std::string_view map) {
    return message_of([&] { map_names(checkpoint, map); });
  }
  static std::set<std::string> names(const Checkpoint& checkpoint) {
    std::set<std::string> names;
    for (const auto& entry : checkpoint.manifest().tensors) names.insert(entry.name);
    return names;
  }

  fs::path folder_;
};

const std::vector<Factor> kClip{{"logit_scale", {}},
                                {"text_projection", {6, 4}},
                                {"visual.proj", {8, 4}},
                                {"visual.ln_pre.bias", {8}},
                                {"visual.transformer.resblocks.11.attn.in_proj_weight", {24, 8}},
                                {"visual.transformer.resblocks.11.attn.in_proj_bias", {24}},
                                {"transformer.resblocks.0.mlp.c_fc.weight", {12, 6}},
                                {"something.else", {2}}};

TEST_F(NamesTest, OpenAisClipUnderHuggingFacesNames) {
  const auto clip = make(kClip);
  const auto mapped = map_names(clip, "openai-clip");
  EXPECT_EQ(
      names(*mapped),
      (std::set<std::string>{
          "logit_scale", "text_projection.weight", "visual_projection.weight", "vision_model.pre_layrnorm.bias",
          "vision_model.encoder.layers.11.self_attn.q_proj.weight", "vision_model.encoder.layers.11.self_attn.k_proj.weight",
          "vision_model.encoder.layers.11.self_attn.v_proj.weight", "vision_model.encoder.layers.11.self_attn.q_proj.bias",
          "vision_model.encoder.layers.11.self_attn.k_proj.bias", "vision_model.encoder.layers.11.self_attn.v_proj.bias",
          "text_model.encoder.layers.0.mlp.fc1.weight", "something.else"}));
  EXPECT_EQ(map_of(*mapped), "openai-clip");

  const TensorEntry& key = mapped->entry("vision_model.encoder.layers.11.self_attn.k_proj.weight");
  EXPECT_TRUE(key.as_is) << "a split is a view";
  EXPECT_EQ(key.info.shape, (Shape{8, 8}));
  const auto fused = clip->tensor("visual.transformer.resblocks.11.attn.in_proj_weight");
  EXPECT_EQ(mapped->tensor(key.name).view.bytes.data() - mapped->tensor(key.name).file->bytes().data(),
            fused.view.bytes.data() - fused.file->bytes().data() + 8 * 8 * 4);

  EXPECT_EQ(mapped->entry("visual_projection.weight").info.shape, (Shape{4, 8}));
  const auto before = values(*clip, "visual.proj"), after = values(*mapped, "visual_projection.weight");
  for (size_t r = 0; r < 4; ++r)
    for (size_t c = 0; c < 8; ++c) EXPECT_EQ(after[r * 8 + c], before[c * 4 + r]);
}

TEST_F(NamesTest, ThereAndBackIsTheSameCheckpoint) {
  const auto clip = make(kClip);
  const auto there = map_names(clip, "openai-clip"), back = map_names(there, "openai-clip:back");
  EXPECT_EQ(back->fingerprint(), clip->fingerprint());
  EXPECT_NE(there->fingerprint(), clip->fingerprint());
  const TensorRange range(*back, back->entry("visual.transformer.resblocks.11.attn.in_proj_weight"), 60, 600);
  EXPECT_TRUE(std::ranges::equal(
      range.bytes(), clip->tensor("visual.transformer.resblocks.11.attn.in_proj_weight").view.bytes.subspan(60, 600)));
}

TEST_F(NamesTest, PrefixesAndOldNames) {
  EXPECT_EQ(names(*map_names(make({{"module.a.weight", {1}}, {"module.b", {1}}}), "module")),
            (std::set<std::string>{"a.weight", "b"}));
  EXPECT_EQ(names(*map_names(make({{"_orig_mod.a", {1}}}), "orig-mod")), (std::set<std::string>{"a"}));
  EXPECT_EQ(names(*map_names(make({{"model.visual.proj", {2, 3}}, {"model.ln_final.weight", {1}}}), "image-encoder")),
            (std::set<std::string>{"visual_projection.weight", "text_model.final_layer_norm.weight"}));
  const auto bert = make({{"bert.LayerNorm.gamma", {1}}, {"bert.LayerNorm.beta", {1}}, {"bert.dense.weight", {1}}});
  const auto mapped = map_names(bert, "gamma-beta");
  EXPECT_EQ(names(*mapped), (std::set<std::string>{"bert.LayerNorm.weight", "bert.LayerNorm.bias", "bert.dense.weight"}));
  EXPECT_EQ(map_names(mapped, "gamma-beta:back")->fingerprint(), bert->fingerprint());
}

TEST_F(NamesTest, LlamaCppsQueryRowsAreTakenApart) {
  OutputLayout layout;
  layout.tensors = {{"blk.2.attn_q.weight", {Dtype::F32, {8, 3}}, 0}, {"blk.2.attn_v.weight", {Dtype::F32, {8, 3}}, 0}};
  layout.metadata = {{"general.architecture", "llama"}, {"llama.attention.head_count", "2"}};
  CheckpointWriter writer(folder_ / "x.safetensors", layout);
  for (size_t i = 0; i < 24; ++i) {
    const auto value = static_cast<float>(i / 3);  // its row
    std::memcpy(writer.tensor(0).data() + 4 * i, &value, 4);
  }
  writer.commit();
  const auto mapped = map_names(open(folder_ / "x.safetensors"), "gguf-llama");
  std::vector<double> rows;
  const auto query = values(*mapped, "model.layers.2.self_attn.q_proj.weight");
  for (size_t row = 0; row < 8; ++row) rows.push_back(query[3 * row]);
  // numpy: arange(8).reshape(heads, head // 2, 2).swapaxes(1, 2).ravel(), the inverse of llama.cpp's permute().
  EXPECT_THAT(rows, testing::ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_TRUE(mapped->entry("model.layers.2.self_attn.v_proj.weight").as_is);
}

// llama.cpp's permute(): reshape(heads, 2, head // 2).swapaxes(1, 2); fewer heads for keys than for queries.
TEST_F(NamesTest, HuggingFacesLlamaRowsAreInterleavedByTheHeadsOfItsConfig) {
  std::filesystem::create_directory(folder_ / "llama");
  write_tensors(folder_ / "llama" / "model.safetensors",
                {{"model.layers.0.self_attn.q_proj.weight", {12, 3}}, {"model.layers.0.self_attn.k_proj.weight", {6, 3}}}, 5);
  const auto write_config = [&](const std::string& text) { std::ofstream(folder_ / "llama" / "config.json") << text; };
  write_config(R"({"model_type": "llama", "num_attention_heads": 2, "num_key_value_heads": 1})");
  const auto original = open(folder_ / "llama");
  const auto mapped = map_names(original, "gguf-llama:back");
  for (const auto& [theirs, ours, rows] :
       {std::tuple("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight",
                   std::vector<size_t>{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}),
        std::tuple("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", std::vector<size_t>{0, 3, 1, 4, 2, 5})}) {
    const auto before = values(*original, ours), after = values(*mapped, theirs);
    for (size_t row = 0; row < rows.size(); ++row)
      for (size_t column = 0; column < 3; ++column)
        EXPECT_EQ(after[3 * row + column], before[3 * rows[row] + column]) << theirs << ", row " << row;
  }
  for (const std::string text : {"{\"model_type\": \"gpt2\", \"num_attention_heads\": 2}", "{\"model_type\": \"llama\"}",
                                 "{\"model_type\": \"llama\", \"num_attention_heads\": \"2\"}", "[", "{}"}) {
    write_config(text);
    EXPECT_THAT(error_of(open(folder_ / "llama"), "gguf-llama:back"), HasSubstr("config.json")) << text;
  }
  write_config(R"({"model_type": "llama", "num_attention_heads": 5})");
  EXPECT_THAT(error_of(open(folder_ / "llama"), "gguf-llama:back"),
              HasSubstr("should have an even number of rows for each of 5 heads"));
}

TEST_F(NamesTest, TheMapThatFitsIsFound) {
  const auto clip = make(kClip);
  write_tensors(folder_ / "hf.safetensors", {{"visual_projection.weight", {4, 8}}, {"text_projection.weight", {4, 6}}}, 2);
  const auto hf = open(folder_ / "hf.safetensors");
  EXPECT_EQ(map_of(*match_names(clip, *hf, "auto")), "openai-clip");
  EXPECT_EQ(map_of(*match_names(hf, *clip, "auto")), "openai-clip:back");
  EXPECT_EQ(match_names(hf, *hf, "auto"), hf);
  EXPECT_EQ(match_names(clip, *hf, "module"), clip);
  EXPECT_EQ(map_of(*guess_names(clip)), "openai-clip");
  EXPECT_EQ(guess_names(hf), hf);
}

TEST_F(NamesTest, MistakesAreNamed) {
  const auto clip = make(kClip);
  EXPECT_THAT(error_of(clip, "openai-clop"), HasSubstr("there is no name map 'openai-clop'; did you mean 'openai-clip'?"));
  EXPECT_THAT(error_of(clip, "gguf-llama"), HasSubstr("knows none of the tensors, e.g. not "));
  EXPECT_THAT(error_of(make({{"visual.proj", {3}}}), "openai-clip"), HasSubstr("so it should be a matrix, but it is F32 [3]"));
  EXPECT_THAT(error_of(make({{"transformer.resblocks.0.attn.in_proj_bias", {4}}}), "openai-clip"), HasSubstr("a multiple of 3"));
  EXPECT_THAT(error_of(make({{"text_model.encoder.layers.0.self_attn.q_proj.bias", {4}}}), "openai-clip:back"),
              HasSubstr("needs q, k and v, but k is missing"));
  EXPECT_THAT(error_of(make({{"module.a", {1}}, {"a", {1}}}), "module"), HasSubstr("two tensors would be called 'a'"));
  EXPECT_THAT(error_of(make({{"blk.0.attn_q.weight", {4, 4}}}), "gguf-llama"), HasSubstr("the metadata should say"));
  EXPECT_THAT(error_of(make({{"model.layers.0.self_attn.q_proj.weight", {4, 4}}}), "gguf-llama:back"),
              HasSubstr("a config.json beside the weights should say model_type llama and num_attention_heads"));
}

}  // namespace
}  // namespace taskvec::formats
