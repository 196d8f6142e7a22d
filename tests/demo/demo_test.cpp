#include "taskvec/demo/demo.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "tests/data/tiny_task.h"
#include "tests/models/tiny_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace taskvec::demo {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// One short demonstration on three tiny tasks.
class Demo : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new testing_models::TemporaryFolder;
    for (const char* name : {"bars", "sticks", "kept"}) testing_data::write_tiny_task(folder(), name);
    results_ = run_demo(options());
  }
  static void TearDownTestSuite() { delete shared_; }

  static fs::path folder() { return shared_->path(); }
  static DemoOptions options() {
    const auto task = [](const char* name) { return (folder() / (std::string(name) + ".yaml")).string(); };
    DemoOptions options{.model = assets_dir() / "pocket-clip", .output = folder() / "demo"};
    options.tasks = {task("bars"), task("sticks")};
    options.control = task("kept");
    options.steps = options.linear_steps = 3;
    return options;
  }

  static testing_models::TemporaryFolder* shared_;
  static ordered_json results_;
};
testing_models::TemporaryFolder* Demo::shared_ = nullptr;
ordered_json Demo::results_;

TEST_F(Demo, ResultsHoldEveryFigureAndThePicturesAreThere) {
  const ordered_json& results = results_;
  EXPECT_EQ(ordered_json::parse(read_file(folder() / "demo/results.json")), results);
  const auto is_share = [](const ordered_json& value) { return value.is_number() && value >= 0.0 && value <= 1.0; };
  for (const char* task : {"kept", "bars", "sticks"}) EXPECT_TRUE(is_share(results["zeroshot"][task])) << task;
  for (const char* task : {"bars", "sticks"}) EXPECT_TRUE(is_share(results["finetuned"][task])) << task;
  for (const char* way : {"negation", "negation_linear"}) {
    EXPECT_EQ(results[way]["task"], "bars") << way;
    for (const char* key : {"target", "target_base", "control", "control_base"})
      EXPECT_TRUE(is_share(results[way][key]) && is_share(results[way]["val"][key])) << way << " " << key;
    EXPECT_EQ(results[way]["target_base"], results["zeroshot"]["bars"]) << way;
  }
  EXPECT_LE(results["negation"]["coefficient"], 1.0);
  EXPECT_LE(results["negation_linear"]["coefficient"], 8.0);
  ASSERT_EQ(results["addition"].size(), 1U);
  EXPECT_EQ(results["addition"][0]["tasks"], ordered_json({"bars", "sticks"}));
  EXPECT_TRUE(is_share(results["addition"][0]["accuracy"]["sticks"]));
  EXPECT_TRUE(results["addition"][0]["normalized"].is_number());
  ASSERT_EQ(results["patch"].size(), 2U);
  for (const char* key : {"coefficient", "patched", "patched_base", "supported", "supported_base"})
    EXPECT_TRUE(is_share(results["patch"][1][key])) << key;
  EXPECT_EQ(results["cosines"]["matrix"].size(), 2U);
  EXPECT_NEAR(results["cosines"]["matrix"][0][0].get<double>(), 1, 1e-12);
  EXPECT_GT(results["seconds"]["total"], 0.0);
  EXPECT_EQ(results["settings"]["split"], "test");
  for (const char* name : {"negation.png", "forgetting.png", "answers.png", "cosines.png", "patch-bars.png", "patch-sticks.png"})
    EXPECT_EQ(read_file(folder() / "demo" / name).substr(1, 3), "PNG") << name;
}

TEST_F(Demo, ASecondRunKeepsTheFineTunedModels) {
  const auto written = fs::last_write_time(folder() / "demo/models/bars/model.safetensors");
  ordered_json second = run_demo(options());
  EXPECT_EQ(fs::last_write_time(folder() / "demo/models/bars/model.safetensors"), written);
  second["seconds"] = results_["seconds"];
  EXPECT_EQ(second, results_);
}

TEST_F(Demo, TheSummaryIsNarrow) {
  const std::string text = summary(results_, 72);
  EXPECT_THAT(text, HasSubstr("forget bars"));
  EXPECT_THAT(text, HasSubstr("patch sticks"));
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    size_t columns = 0;
    for (size_t i = begin; i < end; ++i) columns += (text[i] & 0xC0) != 0x80 ? 1 : 0;
    EXPECT_LE(columns, 72U) << text.substr(begin, end - begin);
  }
}

TEST_F(Demo, OneTaskAloneIsForgottenAndPatchedAndNothingIsAdded) {
  DemoOptions one = options();
  one.tasks.resize(1);
  const ordered_json alone = run_demo(one);
  EXPECT_EQ(alone["negation"], results_["negation"]);
  EXPECT_EQ(alone["negation_linear"], results_["negation_linear"]);
  EXPECT_EQ(alone["patch"].size(), 1U);
  EXPECT_FALSE(alone.contains("addition"));
  EXPECT_THAT(summary(alone), testing::Not(HasSubstr("Add")));
  one.tasks.clear();
  EXPECT_THROW(run_demo(one), Error);
}

TEST(QuickDemo, HasOneTask) { EXPECT_EQ(quick({}).tasks, std::vector<std::string>{"mnist"}); }

}  // namespace
}  // namespace taskvec::demo
