// Whatever remembers results knows them by everything that they depend on: each file is changed under each of them.
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/eval/mode.h"
#include "taskvec/eval/objective.h"
#include "taskvec/train/finetune.h"
#include "taskvec/train/pretrain.h"
#include "tests/data/tiny_task.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace taskvec::eval {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// A model's folder and a task, both to be changed.
struct Inputs {
  fs::path folder;

  fs::path model() const { return folder / "clip"; }
  data::Task task() const { return data::load_task((folder / "bars.yaml").string()); }

  void replace(const fs::path& file, const std::string& old, const std::string& now) const {
    std::string text = read_file(folder / file);
    const size_t at = text.find(old);
    ASSERT_NE(at, std::string::npos) << file << " has no " << old;
    write_file_atomically(folder / file, text.replace(at, old.size(), now));
  }
  void set(const fs::path& file, const std::string& pointer, const json& value) const {
    json document = json::parse(read_file(folder / file));
    ASSERT_NE(document.at(json::json_pointer(pointer)), value);
    document[json::json_pointer(pointer)] = value;
    write_file_atomically(folder / file, document.dump());
  }
  /// The lowest bit of every byte behind the first `header` ones.
  void flip(const fs::path& file, size_t header) const {
    std::string bytes = read_file(folder / file);
    for (size_t i = header; i < bytes.size(); ++i) bytes[i] = static_cast<char>(bytes[i] ^ 1);
    write_file_atomically(folder / file, bytes);
  }
};

struct Change {
  std::string what;
  std::function<void(const Inputs&)> make;
  bool of_model;     ///< else of the task
  bool of_features;  ///< what the image encoder says depends on it
  std::string told;  ///< in the messages of those that refuse to go on
};

void PrintTo(const Change& change, std::ostream* out) { *out << change.what; }

const std::vector<Change>& changes() {
  static const std::vector<Change> all{
      {"weights",
       [](const Inputs& in) { in.flip("clip/model.safetensors", read_file(in.model() / "model.safetensors").size() / 2); }, true,
       true, "weights"},
      {"heads", [](const Inputs& in) { in.set("clip/config.json", "/vision_config/num_attention_heads", 2); }, true, true,
       "network"},
      {"activation", [](const Inputs& in) { in.set("clip/config.json", "/vision_config/hidden_act", "gelu"); }, true, true,
       "network"},
      {"epsilon", [](const Inputs& in) { in.set("clip/config.json", "/text_config/layer_norm_eps", 1e-6); }, true, true,
       "network"},
      {"mean", [](const Inputs& in) { in.set("clip/preprocessor_config.json", "/image_mean/1", 0.9); }, true, true,
       "preprocessing"},
      {"deviation", [](const Inputs& in) { in.set("clip/preprocessor_config.json", "/image_std/2", 0.4); }, true, true,
       "preprocessing"},
      {"rescale", [](const Inputs& in) { in.set("clip/preprocessor_config.json", "/rescale_factor", 0.004); }, true, true,
       "preprocessing"},
      {"normalise", [](const Inputs& in) { in.set("clip/preprocessor_config.json", "/do_normalize", false); }, true, true,
       "preprocessing"},
      {"added tokens", [](const Inputs& in) { in.set("clip/tokenizer.json", "/added_tokens/0/lstrip", true); }, true, false,
       "tokenizer"},
      {"special tokens", [](const Inputs& in) { in.set("clip/tokenizer_config.json", "/unk_token", "a"); }, true, false,
       "tokenizer"},
      {"classes", [](const Inputs& in) { in.replace("bars.yaml", "[left, right]", "[left, up]"); }, false, false, "classes"},
      {"templates", [](const Inputs& in) { in.replace("bars.yaml", "\"{}\"", "\"a {}\""); }, false, false, "templates"},
      {"pixels", [](const Inputs& in) { in.flip("bars-train-images", 16); }, false, true, "samples"},
      {"labels", [](const Inputs& in) { in.flip("bars-train-labels", 8); }, false, true, "samples"},
  };
  return all;
}

class Remembered : public testing::TestWithParam<Change> {
 protected:
  void SetUp() override {
    fs::copy(assets_dir() / "pocket-clip", in_.model());
    testing_data::write_tiny_task(in_.folder, "bars");
  }
  void change() const { GetParam().make(in_); }

  /// @return points that were known
  size_t search() const {
    EditedClip model = edited(), reference = edited("base");
    Evaluator evaluator(model.network(), model.folder(), {.progress = false});
    search::SearchOptions options;
    options.axes = {search::parse_axis("a=0.25,1")};
    options.goal = search::parse_goal("bars", true);
    options.log = in_.folder / "trials.jsonl";
    return search_coefficients(model, reference, evaluator, {in_.task()}, options).result.resumed;
  }
  /// A pass in the tangent space. @return images that it forwarded, with their tangents
  int64_t sweep() const {
    EditedClip model = edited();
    Evaluator evaluator(model.network(), model.folder(), {.progress = false});
    evaluator.linearise(linear_origin(model, Mode::Linear)->params);
    evaluator.keep_sweeps({in_.folder / "sweeps", uint64_t{1} << 30});
    evaluator.affine_outputs(model.apply(std::vector<double>{1}), {}, in_.task(), data::Split::Val);
    return evaluator.images_forwarded();
  }
  bool finetune() const {
    train::FinetuneOptions options;
    options.steps = 1;
    options.batch = 4;
    options.warmup = 1;
    options.quiet = true;
    return train::finetune(in_.model(), in_.task(), in_.folder / "run", options).already_done;
  }
  void pretrain() const {
    train::PretrainOptions options;
    options.steps = 1;
    options.batch = 4;
    options.warmup = 1;
    options.merges = 1;
    train::pretrain(train::pocket_config(), in_.task(), in_.folder / "start", options);
  }

  testing_models::TemporaryFolder folder_;
  const Inputs in_{folder_.path()};

 private:
  EditedClip edited(const std::string& expression = "$a*base") const {
    return {edit::parse(expression), {{"base", formats::open(in_.model())}}};
  }
};

TEST_P(Remembered, TrialsAreOfOneThing) {
  ASSERT_EQ(search(), 0U);
  ASSERT_EQ(search(), 2U);
  change();
  const std::string told = GetParam().told == "weights" ? "fingerprint" : GetParam().told;
  EXPECT_THAT(message_of([&] { search(); }), AllOf(HasSubstr("holds the trials of another search"), HasSubstr(told)));
}

TEST_P(Remembered, PassesAreKeptWhileFeaturesStay) {
  ASSERT_GT(sweep(), 0);
  ASSERT_EQ(sweep(), 0);
  change();
  EXPECT_EQ(sweep() > 0, GetParam().of_features);
}

TEST_P(Remembered, RunsAreOfOneThing) {
  ASSERT_FALSE(finetune());
  ASSERT_TRUE(finetune());
  if (!GetParam().of_model) {
    ASSERT_EQ(message_of([&] { pretrain(); }), "no error");
  }
  change();
  EXPECT_THAT(message_of([&] { finetune(); }),
              AllOf(HasSubstr("the folder holds a finished run with"), HasSubstr(GetParam().told)));
  if (GetParam().of_model) return;
  EXPECT_THAT(message_of([&] { pretrain(); }),
              AllOf(HasSubstr("the folder holds a finished run with"), HasSubstr(GetParam().told)));
}

INSTANTIATE_TEST_SUITE_P(EveryFile, Remembered, testing::ValuesIn(changes()), [](const auto& change) {
  std::string name = change.param.what;
  std::erase(name, ' ');
  return name;
});

}  // namespace
}  // namespace taskvec::eval
