// What survives a kill, a full disk and an output that cannot be written: the old file or nothing.
#include "tests/cli/survival.h"

namespace taskvec {
namespace {

using testing::HasSubstr;

TEST_F(Survival, AKilledEditLeavesTheOldOutputOrTheNewOne) {
  constexpr int64_t kElements = 24 << 20;
  make_checkpoint("a.safetensors", 1.0F, kElements);
  make_checkpoint("b.safetensors", 2.0F, kElements);
  const std::vector<std::string> old{"edit", "a", "-s", "a=a.safetensors", "-o", "out.safetensors", "--force"};
  const std::vector<std::string> edit{"edit", "a + 0.5*(b - a)", "-s",     "a=a.safetensors", "-s", "b=b.safetensors",
                                      "-o",   "out.safetensors", "--force"};
  ASSERT_EQ(wait(start(edit)), 0) << log();
  const auto value_of_output = [&] {
    const auto checkpoint = formats::open(folder_ / "out.safetensors");  // throws on half a file
    const auto bytes = checkpoint->tensor("w").view.bytes;
    float first = 0, last = 0;
    std::memcpy(&first, bytes.data(), 4);
    std::memcpy(&last, bytes.data() + bytes.size() - 4, 4);
    EXPECT_EQ(first, last);
    return first;
  };
  int killed = 0;
  for (int round = 0; round < kKills; ++round) {
    ASSERT_EQ(wait(start(old)), 0) << log();
    ASSERT_EQ(value_of_output(), 1.0F);
    killed += kill_somewhere(edit, 0.25, round);
    const float value = value_of_output();
    EXPECT_TRUE(value == 1.0F || value == 1.5F) << value;
  }
  EXPECT_GE(killed, kKills / 5) << "the kills came too late to prove anything";
  ASSERT_EQ(wait(start(edit)), 0) << log();
  int files = 0;  // what the killed ones left is gone
  for (const auto& entry : fs::directory_iterator(folder_)) files += entry.path().filename() != "log";
  EXPECT_EQ(files, 3);
}

TEST_F(Survival, AFullDiskIsNamedAndLeavesNothing) {
  make_checkpoint("a.safetensors", 1.0F, 1 << 20);
  EXPECT_EQ(wait(start({"edit", "2*a", "-s", "a=a.safetensors", "-o", "out.safetensors"}, 1 << 20)), 1);
  EXPECT_THAT(log(), HasSubstr("out.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "out.safetensors"));
  EXPECT_EQ(wait(start({"edit", "2*a", "-s", "a=a.safetensors", "-o", "/proc/out.safetensors"})), 1);
  EXPECT_THAT(log(), HasSubstr("/proc/out.safetensors"));
}

}  // namespace
}  // namespace taskvec
