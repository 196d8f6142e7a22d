// extract and apply as a user runs them, and what is left when they are killed.
#include "tests/cli/survival.h"

namespace taskvec {
namespace {

using testing::HasSubstr;

class DeltaCommands : public Survival {
 protected:
  int run(const std::vector<std::string>& arguments) const { return wait(start(arguments)); }
};

TEST_F(DeltaCommands, ExtractAddAndApply) {
  make_checkpoint("base.safetensors", 1.0F, 1000);
  make_checkpoint("ft.safetensors", 2.0F, 1000);
  ASSERT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors", "--sparse", "0.1"}), 0) << log();
  EXPECT_THAT(log(), HasSubstr("tv.safetensors: sparse, 1 tensors"));
  EXPECT_THAT(log(), HasSubstr("of the 4.00 kB of a dense F32 one; relative error 0.949"));
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("tv.safetensors is there already; --force replaces it"));
  ASSERT_EQ(run({"edit", "base + 0.5*tv", "-s", "base=base.safetensors", "-s", "tv=tv.safetensors", "-o", "out.safetensors"}), 0);
  EXPECT_EQ(run({"reproduce", "out.safetensors"}), 0) << log();
  EXPECT_EQ(run({"inspect", "tv.safetensors"}), 0);
  EXPECT_THAT(log(), HasSubstr("taskvec delta (sparse)"));
  ASSERT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "exact.safetensors", "--lossless", "--json"}), 0)
      << log();
  EXPECT_THAT(log(), HasSubstr(R"("kind":"lossless","tensors":1,"whole":0)"));
  ASSERT_EQ(run({"apply", "base.safetensors", "exact.safetensors", "-o", "again.safetensors"}), 0) << log();
  EXPECT_THAT(log(), HasSubstr("equal to the recorded one"));
  EXPECT_EQ(contents(folder_ / "again.safetensors"), contents(folder_ / "ft.safetensors"));
  ASSERT_EQ(run({"apply", "base.safetensors", "tv.safetensors", "-o", "half.safetensors", "--scale", "0.5"}), 0) << log();
  EXPECT_EQ(run({"diff", "-q", "half.safetensors", "out.safetensors"}), 0);
}

TEST_F(DeltaCommands, MistakesExitWithTwo) {
  make_checkpoint("base.safetensors", 1.0F, 10);
  make_checkpoint("ft.safetensors", 2.0F, 10);
  ASSERT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors", "--lossless"}), 0) << log();
  EXPECT_EQ(run({"apply", "ft.safetensors", "tv.safetensors", "-o", "out.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("was made from a base with fingerprint"));
  EXPECT_EQ(run({"edit", "base + tv", "-s", "base=base.safetensors", "-s", "tv=tv.safetensors", "-o", "out.safetensors"}), 2);
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "x.safetensors", "--sign", "--lossless"}), 2);
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "x.safetensors", "--random"}), 2);
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "x.safetensors", "--sparse", "1.5"}), 2);
  EXPECT_FALSE(fs::exists(folder_ / "x.safetensors"));
}

TEST_F(DeltaCommands, OverflowPoliciesOfEdit) {
  make_checkpoint("a.safetensors", 60000.0F, 10);
  const std::vector<std::string> edit{"edit",    "2*a", "-s",      "a=a.safetensors", "-o", "out.safetensors",
                                      "--dtype", "F16", "--force", "--on-overflow"};
  const auto with = [&](const std::string& policy) {
    auto arguments = edit;
    arguments.push_back(policy);
    return run(arguments);
  };
  EXPECT_EQ(with("error"), 1);
  EXPECT_THAT(log(), HasSubstr("10 elements of tensor 'w' are too large for F16"));
  EXPECT_FALSE(fs::exists(folder_ / "out.safetensors"));
  EXPECT_EQ(with("report"), 0);
  EXPECT_THAT(log(), HasSubstr("warning: 10 elements of 'w' were too large for F16 and are not finite"));
  EXPECT_EQ(with("saturate"), 0);
  EXPECT_THAT(log(), HasSubstr("and are clamped"));
  EXPECT_EQ(run({"reproduce", "out.safetensors"}), 0) << log();
  EXPECT_EQ(with("ignore"), 2);
}

TEST_F(DeltaCommands, AFullDiskIsNamedAndLeavesNothing) {
  make_checkpoint("base.safetensors", 1.0F, 1 << 20);
  make_checkpoint("ft.safetensors", 2.0F, 1 << 20);
  EXPECT_EQ(wait(start({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors"}, 1 << 20)), 1);
  EXPECT_THAT(log(), HasSubstr("tv.safetensors"));
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "/proc/tv.safetensors", "--lossless"}), 1);
  EXPECT_THAT(log(), HasSubstr("/proc/tv.safetensors"));
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) files += entry.path().filename() != "log";
  EXPECT_EQ(files, 2);
}

TEST_F(DeltaCommands, AKilledExtractLeavesTheOldFileOrTheNewOne) {
  constexpr int64_t kElements = 8 << 20;
  make_checkpoint("base.safetensors", 1.0F, kElements);
  make_checkpoint("ft.safetensors", 2.0F, kElements);
  const auto extract = [](std::vector<std::string> kind) {
    std::vector<std::string> arguments{"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors", "--force"};
    arguments.insert(arguments.end(), kind.begin(), kind.end());
    return arguments;
  };
  ASSERT_EQ(run(extract({"--sign"})), 0) << log();
  const std::string old = contents(folder_ / "tv.safetensors");
  int killed = 0;
  for (const auto& kind : {std::vector<std::string>{"--lossless"}, {"--sparse", "0.1"}}) {
    const auto started = std::chrono::steady_clock::now();
    ASSERT_EQ(run(extract(kind)), 0) << log();
    const std::chrono::duration<double> longest = std::chrono::steady_clock::now() - started;
    const std::string complete = contents(folder_ / "tv.safetensors");
    for (int round = 0; round < kKills / 2; ++round) {
      std::ofstream(folder_ / "tv.safetensors", std::ios::binary) << old;
      killed += kill_somewhere(extract(kind), longest.count(), round);
      const std::string left = contents(folder_ / "tv.safetensors");
      EXPECT_TRUE(left == old || left == complete) << left.size();
    }
  }
  EXPECT_GE(killed, kKills / 5) << "the kills came too late to prove anything";
  ASSERT_EQ(run(extract({"--lossless"})), 0) << log();
  int files = 0;  // what the killed ones left is gone
  for (const auto& entry : fs::directory_iterator(folder_)) files += entry.path().filename() != "log";
  EXPECT_EQ(files, 3);
}

}  // namespace
}  // namespace taskvec
