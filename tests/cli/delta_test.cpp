// extract and apply as a user runs them.
#include "tests/cli/survival.h"

namespace taskvec {
namespace {

using testing::HasSubstr;
using testing::Not;

class DeltaCommands : public Survival {
 protected:
  int run(const std::vector<std::string>& arguments) const { return wait(start(arguments)); }
};

TEST_F(DeltaCommands, ExtractAddAndApply) {
  make_checkpoint("base.safetensors", 1.0F, 1000);
  make_checkpoint("ft.safetensors", 2.0F, 1000);
  ASSERT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors", "--sparse", "0.1"}), 0) << log();
  EXPECT_THAT(log(), HasSubstr("tv.safetensors: sparse, 1 tensor,"));
  EXPECT_THAT(log(), HasSubstr("of the 4.00 kB of a dense F32 one; relative error 0.949"));
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "tv.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("tv.safetensors is there already; --force replaces it"));
  ASSERT_EQ(run({"edit", "base + 0.5*tv", "-s", "base=base.safetensors", "-s", "tv=tv.safetensors", "-o", "out.safetensors"}), 0);
  EXPECT_EQ(run({"reproduce", "out.safetensors"}), 0) << log();
  EXPECT_EQ(run({"inspect", "tv.safetensors"}), 0);
  EXPECT_THAT(log(), HasSubstr("taskvec delta (sparse)"));
  ASSERT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "exact.safetensors", "--lossless", "--json"}), 0)
      << log();
  EXPECT_THAT(log(), HasSubstr(R"("kind": "lossless")"));
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
  EXPECT_EQ(run({"extract", "base.safetensors", "ft.safetensors", "-o", "x.safetensors", "--vocab", "pad"}), 2);
  EXPECT_EQ(run({"apply", "tv.safetensors", "base.safetensors", "-o", "x.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("the base comes first, `taskvec apply base.safetensors tv.safetensors -o OUT`"));
  EXPECT_FALSE(fs::exists(folder_ / "x.safetensors"));
}

TEST_F(DeltaCommands, AVectorOfNothingIsNotWritten) {
  make_checkpoint("base.safetensors", 1.0F, 10);
  formats::CheckpointWriter(folder_ / "empty.safetensors", formats::OutputLayout{}).commit();
  EXPECT_EQ(run({"extract", "base.safetensors", "empty.safetensors", "-o", "x.safetensors"}), 2) << log();
  EXPECT_FALSE(fs::exists(folder_ / "x.safetensors"));
}

TEST_F(DeltaCommands, SumsOfTaskVectorsAreTaskVectors) {
  make_checkpoint("base.safetensors", 1.0F, 10);
  make_checkpoint("a.safetensors", 2.0F, 10);
  make_checkpoint("b.safetensors", 4.0F, 10);
  for (const std::string name : {"a", "b"})
    ASSERT_EQ(run({"extract", "base.safetensors", name + ".safetensors", "-o", "tv-" + name + ".safetensors"}), 0) << log();
  ASSERT_EQ(run({"edit", "a + 0.5*b", "-s", "a=tv-a.safetensors", "-s", "b=tv-b.safetensors", "-o", "sum.safetensors"}), 0);
  EXPECT_THAT(log(), Not(HasSubstr("warning")));
  ASSERT_EQ(run({"apply", "base.safetensors", "sum.safetensors", "-o", "out.safetensors"}), 0) << log();
  make_checkpoint("wanted.safetensors", 1.0F + 1.0F + 0.5F * 3.0F, 10);
  EXPECT_EQ(run({"diff", "-q", "out.safetensors", "wanted.safetensors"}), 0);
  EXPECT_EQ(run({"apply", "a.safetensors", "sum.safetensors", "-o", "x.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("fingerprint"));
  EXPECT_EQ(run({"reproduce", "sum.safetensors"}), 0) << log();
}

TEST_F(DeltaCommands, OptionsTakeOneValueEachTime) {
  make_checkpoint("base.safetensors", 1.0F, 10);
  EXPECT_EQ(run({"edit", "-s", "base=base.safetensors", "$x*base", "--set", "x=2", "-o", "out.safetensors"}), 0) << log();
  EXPECT_EQ(run({"edit", "$x*base", "-s", "base=base.safetensors", "--set", "x=2", "--set", "x=3", "-o", "y.safetensors"}), 2);
  EXPECT_THAT(log(), HasSubstr("$x is set twice"));
  EXPECT_EQ(run({"edit", "base", "-s", "base=base.safetensors", "-o", "out.safetensors", "--dry-run"}), 2);
  EXPECT_THAT(log(), HasSubstr("is there already"));
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

}  // namespace
}  // namespace taskvec
