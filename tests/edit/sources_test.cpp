#include "taskvec/core/files/atomic_file.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/extract/extract.h"
#include "taskvec/edit/provenance.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <limits>

namespace taskvec::edit {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Sources that other programs call otherwise, or that hold more or less than the base.
class Sources : public testing::Test {
 protected:
  using Checkpoint = std::shared_ptr<const formats::Checkpoint>;

  Checkpoint file(const std::string& name, const std::vector<Made>& tensors) {
    return folder_.write(name + ".safetensors", tensors);
  }
  /// A model folder with a config.json.
  Checkpoint model(const std::string& name, const std::string& config, const std::vector<Made>& tensors) {
    fs::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / "config.json", config);
    folder_.write(name + "/model.safetensors", tensors);
    return formats::open(folder_ / name);
  }
  Checkpoint edited(const std::string& text, const Bindings& bindings, const PlanOptions& options = {}) {
    const fs::path out = folder_ / ("out" + std::to_string(++outputs_));
    run(plan(parse(text), bindings, options), out);
    return formats::open(out);
  }
  static std::string error_of(const std::string& text, const Bindings& bindings, const PlanOptions& options = {}) {
    return message_of([&] { plan(parse(text), bindings, options); });
  }
  static Made two(const std::string& name, double a, double b) { return made(name, Dtype::F32, {2}, {a, b}); }

  CheckpointFolder folder_;
  int outputs_ = 0;
};

TEST_F(Sources, WrappersAreTakenOffInAnyOrderAndPlace) {
  const auto base = file("base", {two("l.weight", 0, 0), two("l.bias", 0, 0)});
  for (const char* names : {"module.%", "_orig_mod.%", "_orig_mod.module.%", "module._orig_mod.%", "model._orig_mod.%", "net.%",
                            "a.b.%", "_fsdp_wrapped_module.l._checkpoint_wrapped_module.%"}) {
    const auto name = [&](const std::string& own) {
      std::string text = names;
      const bool inside = text.find(".l.") != std::string::npos;
      return text.replace(text.find('%'), 1, inside ? own.substr(2) : own);
    };
    const auto source = file("x", {two(name("l.weight"), 2, 4), two(name("l.bias"), 6, 8)});
    const auto out = edited("b + 0.5*(x - b)", {{"b", base}, {"x", source}});
    EXPECT_THAT(values_of(*out, "l.weight"), ElementsAre(1, 2)) << names;
    EXPECT_THAT(values_of(*out, "l.bias"), ElementsAre(3, 4)) << names;
    EXPECT_THAT(reproduce(*out, {}), IsEmpty()) << names;
    // The other way round: under the names of the base, whatever they are.
    const auto back = edited("x + 0.5*(b - x)", {{"b", base}, {"x", source}});
    EXPECT_THAT(values_of(*back, name("l.weight")), ElementsAre(1, 2)) << names;
  }
}

TEST_F(Sources, AHeadBesideAWrappedBackboneStaysWhereItIs) {
  const auto plain = file("plain", {two("l.weight", 0, 0), two("l.bias", 0, 0), two("head.weight", 0, 0)});
  const auto mixed = file("mixed", {two("model.l.weight", 2, 4), two("model.l.bias", 6, 8), two("head.weight", 2, 2)});
  for (const auto& [base, other, prefix] : {std::tuple(plain, mixed, ""), std::tuple(mixed, plain, "model.")}) {
    const auto out = edited("b + 0.5*(x - b)", {{"b", base}, {"x", other}});
    EXPECT_EQ(out->manifest().tensors.size(), 3U) << prefix;
    EXPECT_THAT(values_of(*out, prefix + std::string("l.weight")), ElementsAre(1, 2));
    EXPECT_THAT(values_of(*out, "head.weight"), ElementsAre(1, 1));
  }
  // A prefix that leaves some of the others unexplained is none.
  const auto stray = file("stray", {two("model.l.weight", 2, 4), two("model.m.bias", 6, 8), two("head.weight", 2, 2)});
  EXPECT_THAT(error_of("p + s", {{"p", plain}, {"s", stray}}), HasSubstr("--allow-missing"));
}

TEST_F(Sources, AHeadlessModelIsFoundInAModelWithAHead) {
  const auto with = file("with", {two("model.a.weight", 2, 2), two("model.b.weight", 2, 2), two("lm_head.weight", 1, 1)});
  const auto without = file("without", {two("a.weight", 4, 4), two("b.weight", 4, 4)});
  EXPECT_THAT(error_of("w + 0.5*(n - w)", {{"w", with}, {"n", without}}), HasSubstr("'lm_head.weight' is in w"));
  const auto out = edited("w + 0.5*(n - w)", {{"w", with}, {"n", without}}, {.allow_missing = true});
  EXPECT_THAT(values_of(*out, "model.a.weight"), ElementsAre(3, 3));
}

TEST_F(Sources, ModelsThatShareNothingAreRefusedWhateverTheOptions) {
  const auto a = file("a", {two("x.weight", 1, 1)}), b = file("b", {two("y.weight", 1, 1)});
  for (const bool allow : {false, true})
    EXPECT_THAT(error_of("a + 0.5*(b - a)", {{"a", a}, {"b", b}}, {.allow_missing = allow}), HasSubstr("share no tensor"));
  const auto llama =
      model("llama", R"({"model_type": "llama"})", {two("embed.weight", 1, 1), two("q.weight", 1, 1), two("r.weight", 1, 1)});
  const auto bert = model("bert", R"({"model_type": "bert"})", {two("embed.weight", 1, 1), two("k.weight", 1, 1)});
  EXPECT_THAT(error_of("a + 0.5*(b - a)", {{"a", llama}, {"b", bert}}, {.allow_missing = true}),
              AllOf(HasSubstr("is a llama"), HasSubstr("is a bert"), HasSubstr("share 1 of 2 tensors")));
}

TEST_F(Sources, ConstantBuffersThatOneSideLacksAreNoObstacle) {
  const auto integers = made_of_bits<int64_t>("text.position_ids", Dtype::I64, {2}, {0, 1});
  const auto with =
      file("with", {two("w", 0, 0), integers, two("rotary_emb.inv_freq", 1, 0.5), two("attn.masked_bias", -1e4, -1e4)});
  const auto without = file("without", {two("w", 2, 2)});
  for (const char* expression : {"a + 0.5*(b - a)", "b + 0.5*(a - b)"}) {
    const auto out = edited(expression, {{"a", with}, {"b", without}});
    EXPECT_THAT(values_of(*out, "w"), ElementsAre(1, 1));
    EXPECT_THAT(values_of(*out, "rotary_emb.inv_freq"), ElementsAre(1, 0.5));
  }
  EXPECT_THAT(plan(parse("a + 0.5*(b - a)"), {{"a", with}, {"b", without}}).notes, ElementsAre(HasSubstr("3 constant tensors")));
  extract(without, with, {}, folder_ / "tv.safetensors");
  EXPECT_EQ(formats::open(folder_ / "tv.safetensors")->manifest().tensors.size(), 1U);
}

TEST_F(Sources, ATiedOutputLayerIsTheEmbedding) {
  const auto matrix = [](const char* name, double value) { return made(name, Dtype::F32, {2, 1}, {value, value}); };
  const std::string tied_config = R"({"model_type": "llama", "tie_word_embeddings": true})";
  const auto tied = model("tied", tied_config, {matrix("model.embed_tokens.weight", 1)});
  const auto untied = model("untied", R"({"model_type": "llama", "tie_word_embeddings": false})",
                            {matrix("model.embed_tokens.weight", 3), matrix("lm_head.weight", 5)});
  const auto out = edited("a + 0.5*(b - a)", {{"a", tied}, {"b", untied}});
  EXPECT_THAT(values_of(*out, "model.embed_tokens.weight"), ElementsAre(2, 2));
  EXPECT_THAT(values_of(*out, "lm_head.weight"), ElementsAre(3, 3));
  EXPECT_EQ(nlohmann::json::parse(read_file(out->path() / "config.json"))["tie_word_embeddings"], false);
  const auto back = edited("b + 0.5*(a - b)", {{"a", tied}, {"b", untied}});
  EXPECT_THAT(values_of(*back, "lm_head.weight"), ElementsAre(3, 3));
  // Both tied, one with the layer in its file: it stays the embedding.
  const auto twice = model("twice", tied_config, {matrix("model.embed_tokens.weight", 3), matrix("lm_head.weight", 3)});
  const auto both = edited("a + 0.5*(b - a)", {{"a", tied}, {"b", twice}});
  EXPECT_EQ(both->manifest().find("lm_head.weight"), nullptr);
  EXPECT_EQ(nlohmann::json::parse(read_file(both->path() / "config.json"))["tie_word_embeddings"], true);
}

TEST_F(Sources, DifferentNumbersOfTokens) {
  const auto embedding = [](int64_t rows, double value) {
    return made("model.embed_tokens.weight", Dtype::F32, {rows, 1}, std::vector<double>(static_cast<size_t>(rows), value));
  };
  const auto base = model("base", R"({"vocab_size": 2})", {embedding(2, 0), two("w", 0, 0)});
  const auto ft = model("ft", R"({"vocab_size": 3})", {embedding(3, 4), two("w", 4, 4)});
  const Bindings bindings{{"base", base}, {"ft", ft}};
  EXPECT_THAT(error_of("base + 0.25*(ft - base)", bindings),
              AllOf(HasSubstr("2 rows"), HasSubstr("--vocab common"), HasSubstr("pad")));
  const auto rows = [&](const char* text, Vocabulary vocabulary) {
    const auto out = edited(text, bindings, {.vocabulary = vocabulary});
    EXPECT_EQ(nlohmann::json::parse(read_file(out->path() / "config.json"))["vocab_size"],
              out->entry("model.embed_tokens.weight").info.shape[0]);
    EXPECT_THAT(reproduce(*out, {}), IsEmpty());
    return values_of(*out, "model.embed_tokens.weight");
  };
  EXPECT_THAT(rows("base + 0.25*(ft - base)", Vocabulary::Common), ElementsAre(1, 1));
  EXPECT_THAT(rows("base + 0.25*(ft - base)", Vocabulary::Base), ElementsAre(1, 1));
  EXPECT_THAT(rows("base + 0.25*(ft - base)", Vocabulary::Pad), ElementsAre(1, 1, 4));
  EXPECT_THAT(rows("ft + 0.75*(base - ft)", Vocabulary::Base), ElementsAre(1, 1, 4));
  EXPECT_THAT(rows("ft + 0.75*(base - ft)", Vocabulary::Common), ElementsAre(1, 1));
}

TEST_F(Sources, EqualElementsStayWhatTheyAre) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const Dtype dtype : {Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64}) {
    const auto a = file("a", {made("m", dtype, {3}, {-inf, 0.1, 1})}), b = file("b", {made("m", dtype, {3}, {-inf, 0.1, 3})});
    const auto out = edited("a - 0.5*(b - a)", {{"a", a}, {"b", b}});
    EXPECT_EQ(values_of(*out, "m")[0], -inf);
    EXPECT_EQ(values_of(*out, "m")[1], values_of(*a, "m")[1]);
    EXPECT_EQ(values_of(*out, "m")[2], 0);
    const auto wide = edited("a - 0.5*(b - a)", {{"a", a}, {"b", b}}, {.dtype = Dtype::F32});
    EXPECT_EQ(values_of(*wide, "m")[0], -inf) << name(dtype);
  }
  const auto a = file("a", {two("m", -inf, 1)}), b = file("b", {two("m", inf, 1)});
  const Summary summary = run(plan(parse("a + 0.5*(b - a)"), {{"a", a}, {"b", b}}), folder_ / "nan.safetensors");
  ASSERT_EQ(summary.non_finite_tensors.size(), 1U);
  EXPECT_EQ(summary.non_finite_tensors[0].tensor, "m");
  EXPECT_EQ(summary.non_finite_tensors[0].total, 1);
  EXPECT_EQ(summary.non_finite_tensors[0].given, 1);
}

TEST_F(Sources, AForgottenMinusIsSaid) {
  const auto base = file("base", {two("w", 1, 1)}), ft = file("ft", {two("w", 2, 2)});
  EXPECT_THAT(plan(parse("base + 0.3*ft"), {{"base", base}, {"ft", ft}}).warnings, ElementsAre(HasSubstr("sum to 1.3")));
  EXPECT_THAT(plan(parse("base + 0.3*(ft - base)"), {{"base", base}, {"ft", ft}}).warnings, IsEmpty());
}

TEST_F(Sources, WhatWasTrainedInATangentSpaceStaysThere) {
  const auto base = file("base", {two("w", 0, 0)});
  const auto linear = [&](const std::string& name, const std::string& origin, double value) {
    formats::OutputLayout layout;
    layout.tensors = {{"w", {Dtype::F32, {2}}, 0}};
    layout.metadata = {{kModeKey, "linear"}, {kOriginKey, origin}};
    formats::CheckpointWriter writer(folder_ / (name + ".safetensors"), layout);
    for (size_t i = 0; i < 2; ++i) {
      const auto narrow = static_cast<float>(value);
      std::memcpy(writer.tensor(0).data() + 4 * i, &narrow, 4);
    }
    writer.commit();
    return formats::open(folder_ / (name + ".safetensors"));
  };
  const auto a = linear("a", base->fingerprint(), 1), b = linear("b", base->fingerprint(), 2), other = linear("other", "else", 3);
  const auto ordinary = file("ordinary", {two("w", 4, 4)});
  for (const char* text : {"base + 0.5*(a - base) + 0.5*(b - base)", "a", "a - b", "a + 0.1*(b - base)"}) {
    const auto out = edited(text, {{"base", base}, {"a", a}, {"b", b}});
    EXPECT_EQ(tangent_origin(*out), base->fingerprint()) << text;
    EXPECT_EQ(tangent_origin(*edited("o", {{"o", out}})), base->fingerprint()) << text;
  }
  EXPECT_EQ(tangent_origin(*edited("base + 0.5*(ordinary - base)", {{"base", base}, {"ordinary", ordinary}})), "");
  EXPECT_THAT(error_of("a + 0.5*(ordinary - a)", {{"a", a}, {"ordinary", ordinary}}), HasSubstr("--mode standard"));
  EXPECT_THAT(error_of("0.5*a + 0.5*other", {{"a", a}, {"other", other}}), HasSubstr("different models"));
  EXPECT_EQ(tangent_origin(*edited("a + 0.5*(ordinary - a)", {{"a", a}, {"ordinary", ordinary}}, {.mode = Mode::Standard})), "");
  EXPECT_EQ(tangent_origin(*edited("a + 0.5*(ordinary - a)", {{"a", a}, {"ordinary", ordinary}}, {.mode = Mode::Linear})),
            base->fingerprint());
  extract(base, a, {}, folder_ / "tv.safetensors");
  EXPECT_EQ(tangent_origin(*edited("base + 1*tv", {{"base", base}, {"tv", formats::open(folder_ / "tv.safetensors")}})),
            base->fingerprint());
}

TEST_F(Sources, TheConfigDescribesWhatWasWritten) {
  const auto base =
      model("base", R"({"dtype": "float32", "text_config": {"torch_dtype": "float32"}, "hidden_size": 2})", {two("w", 1, 2)});
  const auto out = edited("base", {{"base", base}}, {.dtype = Dtype::BF16});
  const auto config = nlohmann::json::parse(read_file(out->path() / "config.json"));
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["text_config"]["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["hidden_size"], 2);
  // Nothing to say: the bytes stay.
  EXPECT_EQ(read_file(edited("base", {{"base", base}})->path() / "config.json"), read_file(base->path() / "config.json"));
}

}  // namespace
}  // namespace taskvec::edit
