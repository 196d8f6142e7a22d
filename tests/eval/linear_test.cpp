// Evaluation and search in the tangent space.
#include "taskvec/core/error.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/eval/convex.h"
#include "taskvec/eval/linear_sweep.h"
#include "taskvec/eval/mode.h"
#include "taskvec/eval/objective.h"
#include "taskvec/train/finetune.h"
#include "tests/data/tiny_task.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace taskvec::eval {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class InTheTangentSpace : public testing::Test {
 protected:
  fs::path train(const std::string& name, train::Mode mode, const fs::path& from) {
    train::FinetuneOptions options;
    options.mode = mode;
    options.steps = 6;
    options.batch = 8;
    options.warmup = 1;
    options.quiet = true;
    options.learning_rate = 2e-3;
    train::finetune(from, task_, folder_.path() / name, options);
    return folder_.path() / name;
  }
  static EditedClip model(const std::string& expression, const std::vector<std::pair<std::string, fs::path>>& sources) {
    edit::Bindings bindings;
    for (const auto& [name, path] : sources) bindings[name] = formats::open(path);
    return {edit::parse(expression), bindings};
  }
  std::string error_of(const EditedClip& model, Mode mode, const fs::path& given = {}) {
    return message_of([&] { linear_origin(model, mode, given); });
  }

  testing_models::TemporaryFolder folder_;
  const data::Task task_ = testing_data::write_tiny_task(folder_.path(), "bars");
  const fs::path pocket_ = assets_dir() / "pocket-clip";
};

TEST_F(InTheTangentSpace, ALinearModelIsKnownByItsMetadataAndFindsItsOrigin) {
  const fs::path linear = train("linear", train::Mode::Linear, pocket_),
                 standard = train("standard", train::Mode::Standard, pocket_);
  const EditedClip alone = model("m", {{"m", linear}});
  const auto origin = linear_origin(alone, Mode::Auto);  // where its run.json says
  ASSERT_TRUE(origin);
  EXPECT_TRUE(origin->params.at("logit_scale").equal(bridge::load(*formats::open(pocket_)).at("logit_scale")));
  EXPECT_FALSE(linear_origin(alone, Mode::Standard));
  const EditedClip plain = model("base + 0.5*(ft - base)", {{"base", pocket_}, {"ft", standard}});
  EXPECT_FALSE(linear_origin(plain, Mode::Auto));
  EXPECT_TRUE(linear_origin(plain, Mode::Linear));

  // A copy of it says what it was made of, whose run says where it started.
  const fs::path copy = folder_.path() / "copy";
  edit::run(edit::plan(edit::parse("m"), {{"m", formats::open(linear)}}), copy);
  EXPECT_EQ(error_of(model("m", {{"m", copy}}), Mode::Auto), "no error");

  fs::remove(linear / "run.json");
  EXPECT_THAT(error_of(alone, Mode::Auto), AllOf(HasSubstr("linear"), HasSubstr("give it with --origin")));
  EXPECT_EQ(error_of(alone, Mode::Auto, pocket_), "no error");
  EXPECT_THAT(error_of(alone, Mode::Auto, standard),
              AllOf(HasSubstr("tangent space of a model with fingerprint"), HasSubstr("standard has")));
  EXPECT_EQ(error_of(model("base + 0.5*(m - base)", {{"base", pocket_}, {"m", linear}}), Mode::Auto), "no error");
}

TEST_F(InTheTangentSpace, VectorsOfDifferentOriginsDoNotAddUp) {
  const fs::path first = train("first", train::Mode::Linear, pocket_);
  const fs::path second = train("second", train::Mode::Linear, train("other", train::Mode::Standard, pocket_));
  EXPECT_THAT(error_of(model("0.5*a + 0.5*b", {{"a", first}, {"b", second}}), Mode::Auto),
              AllOf(HasSubstr("first"), HasSubstr("second"), HasSubstr("different models")));
}

TEST_F(InTheTangentSpace, ASweepIsEveryDirectEvaluation) {
  const fs::path first = train("first", train::Mode::Linear, pocket_), second = train("second", train::Mode::Standard, pocket_);
  EditedClip edited = model("base + $x*(a - base) - $y*(b - base)", {{"base", pocket_}, {"a", first}, {"b", second}});
  Evaluator evaluator(edited.network(), edited.folder(), {.limit = 0, .progress = false});
  evaluator.linearise(linear_origin(edited, Mode::Linear)->params);
  const auto sweep = LinearSweep::make(edited, evaluator, {task_}, data::Split::Train);
  ASSERT_TRUE(sweep);
  const tangent::AffineOutputs outputs =
      evaluator.affine_outputs(edited.apply(std::vector<double>{0, 0}), {}, task_, data::Split::Train);
  bool moved = false;
  for (const auto& [x, y] : {std::pair(0.0, 0.0), std::pair(1.0, 0.0), std::pair(0.5, 2.0), std::pair(-3.0, 1.0)}) {
    const std::vector<double> point{x, y};
    const TaskResult direct = evaluator.evaluate(edited.apply(point), task_, data::Split::Train);
    EXPECT_EQ(sweep->metrics(point).at("bars"), direct.accuracy.value()) << x << " " << y;
    EXPECT_EQ(sweep->result(0, point).predictions, direct.predictions) << x << " " << y;
    const at::Tensor there = evaluator.affine_outputs(edited.apply(point), {}, task_, data::Split::Train).at({});
    moved |= (there - outputs.at({})).abs().max().item<double>() > 0.1;
  }
  EXPECT_TRUE(moved);
}

TEST_F(InTheTangentSpace, WeightsThatAreNotAffineAreEvaluatedDirectly) {
  const fs::path first = train("first", train::Mode::Linear, pocket_);
  EditedClip edited = model("base + $x*$y*(a - base)", {{"base", pocket_}, {"a", first}});
  Evaluator evaluator(edited.network(), edited.folder(), {.limit = 0, .progress = false});
  EXPECT_THROW(evaluator.affine_outputs(edited.apply(std::vector<double>{1, 1}), {}, task_, data::Split::Train), Error);
  evaluator.linearise(linear_origin(edited, Mode::Linear)->params);
  EXPECT_FALSE(LinearSweep::make(edited, evaluator, {task_}, data::Split::Train));
  const auto objective = make_objective(edited, evaluator, {task_}, data::Split::Train,
                                        {search::parse_axis("x=0:1:1"), search::parse_axis("y=0:1:1")});
  EXPECT_EQ(objective(std::vector<double>{1, 1}).at("bars"),
            evaluator.evaluate(edited.apply(std::vector<double>{1, 1}), task_, data::Split::Train).accuracy.value());
}

class SweepsOnDisk : public InTheTangentSpace {
 protected:
  void SetUp() override {
    first_ = train("first", train::Mode::Linear, pocket_);
    second_ = train("second", train::Mode::Standard, pocket_);
    edited_.emplace(model("base + $x*(a - base) + $y*(b - base)", {{"base", pocket_}, {"a", first_}, {"b", second_}}));
  }
  /// The logits at (0.5, -2), and how many images went through the network for them.
  std::pair<at::Tensor, int64_t> sweep(std::optional<uint64_t> budget, bridge::Precision precision = bridge::Precision::Float32) {
    Evaluator evaluator(edited_->network(), edited_->folder(),
                        {.batch = 1, .limit = 0, .precision = precision, .progress = false});
    evaluator.linearise(linear_origin(*edited_, Mode::Linear)->params);
    if (budget) evaluator.keep_sweeps({cache_, *budget});
    const auto made = LinearSweep::make(*edited_, evaluator, {task_}, data::Split::Train);
    const at::Tensor logits = made->logits(0, std::vector<double>{0.5, -2});
    samples_ = logits.size(0);
    for (double x = 0; x <= 1; x += 0.05) made->metrics(std::vector<double>{x, x});  // points cost no pass
    return {logits, evaluator.images_forwarded()};
  }
  std::vector<fs::path> blocks() const {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(cache_)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
  }

  const fs::path cache_ = folder_.path() / "cache";
  fs::path first_, second_;
  std::optional<EditedClip> edited_;
  int64_t samples_ = 0;
};

constexpr uint64_t kPlenty = 1 << 30;

TEST_F(SweepsOnDisk, APassHasOneTangentPerVectorAndIsMadeOnce) {
  const auto [fresh, passes] = sweep(std::nullopt);
  ASSERT_GT(samples_, 16);          // several blocks
  EXPECT_EQ(passes, 3 * samples_);  // the primal and two tangents, for any number of points
  const auto [kept, first] = sweep(kPlenty);
  EXPECT_EQ(first, 3 * samples_);
  EXPECT_TRUE(kept.equal(fresh));
  const auto [again, second] = sweep(kPlenty);
  EXPECT_EQ(second, 0);
  EXPECT_TRUE(again.equal(fresh));
}

TEST_F(SweepsOnDisk, AnotherPrecisionHasBlocksOfItsOwn) {
  const auto [full, passes] = sweep(kPlenty);
  const auto [half, own] = sweep(kPlenty, bridge::Precision::Bf16);
  EXPECT_EQ(own, passes);
  EXPECT_FALSE(half.equal(full));
  EXPECT_LT(((half - full).norm() / full.norm()).item<double>(), 0.05);
  EXPECT_EQ(sweep(kPlenty, bridge::Precision::Bf16).second, 0);
}

TEST_F(SweepsOnDisk, AnInterruptedPassGoesOnBehindItsLastBlock) {
  const auto [fresh, all] = sweep(kPlenty);
  const auto before = blocks();
  size_t removed = 0;
  for (size_t i = 0; i < before.size(); i += 2, ++removed) fs::remove(before[i]);
  const auto [resumed, some] = sweep(kPlenty);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, all);
  EXPECT_LT((resumed - fresh).abs().max().item<double>(), 1e-5);
  EXPECT_EQ(blocks(), before);
}

TEST_F(SweepsOnDisk, BlocksOfAnotherModelAndDamagedOnesAreMadeAnew) {
  const auto [fresh, all] = sweep(kPlenty);
  const auto paths = blocks();
  fs::copy_file(paths[0], paths[1], fs::copy_options::overwrite_existing);  // another key's numbers
  fs::resize_file(paths[2], 40);
  const auto [again, some] = sweep(kPlenty);
  EXPECT_GT(some, 0);
  EXPECT_LT((again - fresh).abs().max().item<double>(), 1e-5);

  edited_.emplace(model("base + $x*(a - base) + $y*(b - base)", {{"base", pocket_}, {"a", first_}, {"b", first_}}));
  const auto [other, theirs] = sweep(kPlenty);
  EXPECT_EQ(theirs, 0);  // the primal and the first vector are known, and the second is the first
  EXPECT_FALSE(other.equal(fresh));
}

TEST_F(SweepsOnDisk, ABudgetThatIsTooSmallKeepsNothingAndASmallOneTheLatest) {
  const auto [fresh, all] = sweep(std::nullopt);
  EXPECT_TRUE(sweep(1000).first.equal(fresh));
  EXPECT_FALSE(fs::exists(cache_));
  sweep(kPlenty);
  uint64_t total = 0, kept = 0;
  for (const auto& path : blocks()) total += fs::file_size(path);
  SweepCache small(cache_, total / 2);
  EXPECT_TRUE(small.store("0123", at::ones({2, 3})));
  for (const auto& path : blocks()) kept += fs::file_size(path);
  EXPECT_LE(kept, total / 2);
  EXPECT_TRUE(small.find("0123", {2, 3})->equal(at::ones({2, 3})));
  EXPECT_FALSE(small.find("0123", {3, 2}));
}

TEST_F(SweepsOnDisk, AFolderThatCannotBeWrittenIsNoFailure) {
  std::ofstream(cache_) << "a file";
  const auto [logits, passes] = sweep(kPlenty);
  EXPECT_EQ(passes, 3 * samples_);
}

TEST_F(SweepsOnDisk, TheConvexSolutionIsBelowEveryPointByItsCertificate) {
  Evaluator evaluator(edited_->network(), edited_->folder(), {.limit = 0, .progress = false});
  evaluator.linearise(linear_origin(*edited_, Mode::Linear)->params);
  const auto made = LinearSweep::make(*edited_, evaluator, {task_}, data::Split::Train);
  const ConvexSolution best = solve_coefficients(*made, 1e-3);
  EXPECT_LT(best.gap, 1e-9);
  EXPECT_LT(best.loss, best.loss_at_zero);
  EXPECT_NEAR(best.loss, convex_loss(*made, best.coefficients, 1e-3), 1e-12);
  for (double x = -3; x <= 3; x += 0.5) {
    for (double y = -3; y <= 3; y += 0.5) {
      const double there = convex_loss(*made, std::vector<double>{x, y}, 1e-3);
      EXPECT_GE(there, best.loss - best.gap);
      // On the way there the loss lies below the chord.
      const std::vector<double> middle{(x + best.coefficients[0]) / 2, (y + best.coefficients[1]) / 2};
      EXPECT_LE(convex_loss(*made, middle, 1e-3), (there + best.loss) / 2 + 1e-12);
    }
  }
  EXPECT_THROW(solve_coefficients(*made, 0), Error);
}

}  // namespace
}  // namespace taskvec::eval
