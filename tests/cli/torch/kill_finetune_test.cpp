// Training that was killed goes on to the same model.
#include "tests/cli/survival.h"

namespace taskvec {
namespace {

TEST_F(Survival, AKilledFineTuningGoesOnToTheSameModel) {
  const fs::path model = fs::path(std::getenv("TASKVEC_ASSETS")) / "pocket-clip";
  std::ofstream(folder_ / "t.yaml") << "source: {idx: {folder: ., train: [i, l], test: [i, l]}}\nclasses: [left, right]\n";
  std::ofstream images(folder_ / "i", std::ios::binary), labels(folder_ / "l", std::ios::binary);
  images << std::string("\0\0\x08\x03\0\0\0\x40\0\0\0\x1c\0\0\0\x1c", 16);
  labels << std::string("\0\0\x08\x01\0\0\0\x40", 8);
  const Philox random(1, 0);
  for (uint64_t i = 0; i < 64 * 784; ++i) images << static_cast<char>(random.below(i, 256));
  for (int i = 0; i < 64; ++i) labels << static_cast<char>(i % 2);
  images.close();
  labels.close();

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
