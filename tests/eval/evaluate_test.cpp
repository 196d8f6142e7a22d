#include "taskvec/eval/evaluate.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/eval/objective.h"
#include "taskvec/eval/task_vectors.h"
#include "taskvec/train/finetune.h"
#include "tests/data/tiny_task.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace taskvec::eval {
namespace {

using testing::HasSubstr;

/// The pocket CLIP and a fine-tune of it.
class Evaluation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new testing_models::TemporaryFolder;
    const auto task = testing_data::write_tiny_task(shared_->path(), "bars");
    train::finetune(pocket(), task, shared_->path() / "ft",
                    {.steps = 30, .batch = 8, .warmup = 2, .learning_rate = 1e-3, .quiet = true, .on_step = {}});
  }
  static void TearDownTestSuite() { delete shared_; }
  static std::filesystem::path pocket() { return assets_dir() / "pocket-clip"; }

  EditedClip model(const std::string& expression) const {
    return {edit::parse(expression), {{"base", formats::open(pocket())}, {"ft", formats::open(shared_->path() / "ft")}}};
  }
  Evaluator evaluator(const EditedClip& model) const { return {model.network(), model.folder(), {.progress = false}}; }

  const data::Task task_ = data::load_task((shared_->path() / "bars.yaml").string());
  static testing_models::TemporaryFolder* shared_;
};
testing_models::TemporaryFolder* Evaluation::shared_ = nullptr;

TEST_F(Evaluation, FineTuningLearnsTheTaskAndChangesTheImageEncoderAlone) {
  EditedClip tuned = model("ft + 0*base");
  const TaskResult result = evaluator(tuned).evaluate(tuned.apply(), task_);
  EXPECT_GE(result.accuracy.correct, 18);
  EXPECT_EQ(result.accuracy.n, 20);
  EXPECT_EQ(result.to_json()["split"], "test");
  const auto base = bridge::load(*formats::open(pocket())), ft = bridge::load(*formats::open(shared_->path() / "ft"));
  for (const auto& [name, tensor] : base) EXPECT_EQ(tensor.equal(ft.at(name)), !models::Clip::is_image_encoder(name)) << name;
}

TEST_F(Evaluation, AnExpressionIsTheModelThatItWouldWrite) {
  const edit::Bindings sources{{"base", formats::open(pocket())}, {"ft", formats::open(shared_->path() / "ft")}};
  edit::run(edit::plan(edit::parse("base + 0.4*(ft - base)"), sources), shared_->path() / "written");
  EditedClip resident = model("base + $a*(ft - base)");
  EditedClip written(edit::parse("m"), {{"m", formats::open(shared_->path() / "written")}});
  const bridge::Params &there = written.apply(), &here = resident.apply(std::array{0.4});
  for (const auto& [name, tensor] : there) EXPECT_TRUE(tensor.equal(here.at(name))) << name;
  EXPECT_EQ(evaluator(resident).evaluate(here, task_).predictions, evaluator(written).evaluate(there, task_).predictions);
}

TEST_F(Evaluation, OnADeviceAnExpressionHasTheSameBits) {
  // Here the device is the CPU, by the operations that any device computes with.
  const edit::Bindings sources{{"base", formats::open(pocket())}, {"ft", formats::open(shared_->path() / "ft")}};
  for (const char* text : {"base + $a*(ft - base)", "interpolate(base, ft, $a)", "$a*base", "ft + 0*$a*base", "0*$a*base"}) {
    EditedClip here = model(text);
    edit::Resident resident(edit::parse(text), sources, {.dtype = Dtype::F32});
    DeviceSum sum{at::Device(at::kCPU)};
    for (const double a : {0.3, 0.0, 1.0, -7.1, 0.3}) {
      const bridge::Params& there = sum.apply(resident.at(std::array{a}));
      for (const auto& [name, tensor] : here.apply(std::array{a}))
        EXPECT_TRUE(tensor.equal(there.at(name))) << text << ", " << a << ": " << name;
    }
  }
}

TEST_F(Evaluation, Bfloat16AnswersAlikeAndIsNeverTakenForFloat32) {
  EditedClip tuned = model("ft + 0*base");
  EvalOptions options{.precision = bridge::Precision::Bf16, .progress = false};
  Evaluator half(tuned.network(), tuned.folder(), options), full = evaluator(tuned);
  EXPECT_GE(half.evaluate(tuned.apply(), task_).accuracy.correct, 18);
  const at::Tensor a = full.features(tuned.apply(), task_, data::Split::Test),
                   b = half.features(tuned.apply(), task_, data::Split::Test);
  EXPECT_EQ(b.scalar_type(), at::kFloat);
  const double apart = ((a - b).norm() / a.norm()).item<double>();
  EXPECT_GT(apart, 0);
  EXPECT_LT(apart, 0.05);

  EditedClip base = model("base + 0*ft"), model_ = model("interpolate(base, ft, $a)");
  search::SearchOptions search;
  search.axes = {search::parse_axis("a=0,1")};
  search.goal = search::parse_goal("bars", true);
  search.log = shared_->path() / "bf16.jsonl";
  search_coefficients(model_, base, half, {task_}, search);
  EXPECT_NE(message_of([&] { search_coefficients(model_, base, full, {task_}, search); }), "no error");
}

TEST_F(Evaluation, TheBatchSizeDoesNotMatter) {
  EditedClip base = model("base + 0*ft");
  const auto& params = base.apply();
  EvalOptions small{.progress = false};
  small.batch = 3;
  EXPECT_EQ(Evaluator(base.network(), base.folder(), small).evaluate(params, task_).predictions,
            evaluator(base).evaluate(params, task_).predictions);
}

TEST_F(Evaluation, WeightsThatOverflowAreNamed) {
  EditedClip model_ = model("base + $a*(ft - base)");
  Evaluator evaluator_ = evaluator(model_);
  EXPECT_THAT(message_of([&] { evaluator_.evaluate(model_.apply(std::array{1e30}), task_); }),
              HasSubstr("task 'bars': the features of sample 0 are not finite"));
  // A search treats it as a bad point.
  const auto objective = make_objective(model_, evaluator_, {task_}, data::Split::Val, {search::parse_axis("a=0,1e30")});
  EXPECT_TRUE(std::isnan(objective(std::array{1e30}).at("bars")));
  EXPECT_FALSE(std::isnan(objective(std::array{0.0}).at("bars")));
}

TEST_F(Evaluation, NothingIsChosenOnTest) {
  EditedClip model_ = model("base + $a*(ft - base)");
  Evaluator evaluator_ = evaluator(model_);
  const auto objective = [&](const char* axis, data::Split split) {
    return message_of([&] { make_objective(model_, evaluator_, {task_}, split, {search::parse_axis(axis)}); });
  };
  EXPECT_THAT(objective("a=0,1", data::Split::Test), HasSubstr("never chosen on the test split"));
  EXPECT_THAT(objective("b=0,1", data::Split::Val), HasSubstr("no open coefficient $b"));
  EXPECT_THAT(message_of([&] { model_.apply(); }), HasSubstr("0 values for 1 coefficients (a)"));
}

TEST_F(Evaluation, ASearchFindsThePatchAndNamesWhatItMeasured) {
  EditedClip model_ = model("interpolate(base, ft, $a)"), base = model("base + 0*ft");
  Evaluator evaluator_ = evaluator(model_);
  search::SearchOptions options;
  options.axes = {search::parse_axis("a=0,0.5,1")};
  options.goal = search::parse_goal("bars", true);
  options.log = shared_->path() / "trials.jsonl";
  const auto found = search_coefficients(model_, base, evaluator_, {task_}, options);
  ASSERT_TRUE(found.result.best);
  EXPECT_GE(found.result.trials[*found.result.best].metrics.at("bars"), found.reference.at("bars"));
  EXPECT_EQ(search_coefficients(model_, base, evaluator_, {task_}, options).result.resumed, 3U);
}

TEST(TaskVectorGeometry, CosinesOfKnownVectors) {
  const auto params = [](double x, double y) {
    bridge::Params p;
    p.add("w", at::tensor({1 + x, 2 + y}, at::kDouble));
    return p;
  };
  const auto all = [](std::string_view) { return true; };
  const auto geometry = task_vector_geometry(params(0, 0), {{"x", params(2, 0)}, {"y", params(0, 3)}, {"xy", params(1, 1)}}, all);
  EXPECT_EQ(geometry.norms, (std::vector<double>{2, 3, std::sqrt(2.0)}));
  EXPECT_DOUBLE_EQ(geometry.cosines[0][1], 0);
  EXPECT_DOUBLE_EQ(geometry.cosines[0][2], std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(geometry.cosines[2][2], 1);
}

}  // namespace
}  // namespace taskvec::eval
