#include "taskvec/analysis/modes.h"

#include "taskvec/core/files/paths.h"
#include "tests/data/tiny_task.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

namespace taskvec::analysis {
namespace {

TEST(Modes, TheAdvantageIsInSharesOfWhatLiesAboveChance) {
  EXPECT_DOUBLE_EQ(nonlinear_advantage(0.9, 0.5, 2), 0.8);
  EXPECT_DOUBLE_EQ(nonlinear_advantage(0.5, 0.9, 10), -0.4 / 0.9);
}

TEST(Modes, AtTheOriginTheTwoAreOneAndFarFromItTheyAreNot) {
  const testing_models::TemporaryFolder folder;
  const data::Task task = testing_data::write_tiny_task(folder.path(), "bars");
  const models::ClipModel model = models::open_clip(assets_dir() / "pocket-clip");
  eval::Evaluator network(model.network, model.path, {.progress = false}),
      linearised(model.network, model.path, {.progress = false});
  linearised.linearise(model.params);
  const ModeComparison here = compare_modes(network, linearised, model.params, task, data::Split::Train);
  EXPECT_EQ(here.advantage, 0);
  EXPECT_EQ(here.standard.correct, here.linearised.correct);
  EXPECT_NEAR(here.cka, 1, 1e-9);
  const bridge::Params random = model.network.initialise(1);
  EXPECT_LT(compare_modes(network, linearised, random, task, data::Split::Train).cka, 0.99);
}

}  // namespace
}  // namespace taskvec::analysis
