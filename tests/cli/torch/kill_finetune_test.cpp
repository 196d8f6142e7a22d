// Training that was killed goes on to the same model.
#include "tests/cli/survival.h"
#include "tests/cli/torch/tiny_task.h"

namespace taskvec {
namespace {

TEST_F(Survival, AKilledFineTuningGoesOnToTheSameModel) {
  const fs::path model = fs::path(std::getenv("TASKVEC_ASSETS")) / "pocket-clip";
  testing_cli::write_tiny_task(folder_);
  const auto command = [&](const std::string& output) {
    return std::vector<std::string>{"finetune", "-m", model.string(), "-t", "t.yaml",         "-o", output,      "--steps", "200",
                                    "--batch",  "16", "--warmup",     "5",  "--resume-every", "10", "--threads", "1"};
  };
  ASSERT_EQ(wait(start(command("whole"))), 0) << log();
  const std::string whole = contents(folder_ / "whole" / "model.safetensors");
  ASSERT_FALSE(whole.empty());

  int killed = 0;
  const std::vector<std::string> again = command("killed");
  for (int round = 0; killed < kKills && round < 4 * kKills; ++round) {
    killed += kill_somewhere(again, 0.9, round);
    if (!fs::exists(folder_ / "killed" / "model.safetensors")) continue;
    ASSERT_EQ(contents(folder_ / "killed" / "model.safetensors"), whole) << "after " << killed << " kills";
    fs::remove_all(folder_ / "killed");
  }
  EXPECT_EQ(killed, kKills);
  ASSERT_EQ(wait(start(again)), 0) << log();
  EXPECT_EQ(contents(folder_ / "killed" / "model.safetensors"), whole);
}

}  // namespace
}  // namespace taskvec
