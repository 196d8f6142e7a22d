#include "taskvec/formats/writer.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace taskvec {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing_cli::Outcome;

/// The program as a user runs it, on two tiny checkpoints `a` and `b`.
class CommandLine : public testing_cli::Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    for (const float value : {1.0F, 2.0F}) {
      formats::OutputLayout layout;
      layout.tensors = {{"x.weight", {Dtype::F32, {2}}, 0}};
      formats::CheckpointWriter writer(folder_ / (value == 1 ? "a.safetensors" : "b.safetensors"), layout);
      for (size_t i = 0; i < 2; ++i) std::memcpy(writer.tensor(0).data() + 4 * i, &value, 4);
      writer.commit();
    }
  }
};

TEST_F(CommandLine, EditInspectDiffAndReproduce) {
  const std::string edit = "edit 'a + $x*(b - a)' -s a=a.safetensors -s b=b.safetensors --set x=0.5 -o out.safetensors";
  EXPECT_EQ(run(edit).status, 0);
  const Outcome again = run(edit);
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.output, HasSubstr("error: out.safetensors is there already; --force replaces it"));
  EXPECT_THAT(run("inspect out.safetensors").output, HasSubstr("taskvec.expression: a + $x*(b - a)"));
  EXPECT_THAT(run("inspect --json out.safetensors").output, HasSubstr("\"shape\""));
  const Outcome diff = run("diff a.safetensors out.safetensors");
  EXPECT_EQ(diff.status, 1);
  EXPECT_THAT(diff.output, HasSubstr("norm of the task vector 0.707107"));
  EXPECT_EQ(run("diff -q a.safetensors a.safetensors").status, 0);
  EXPECT_THAT(run("reproduce out.safetensors").output, HasSubstr("reproduced, byte for byte"));
}

TEST_F(CommandLine, ReproduceNamesASourceThatIsAnotherOrGone) {
  ASSERT_EQ(run("edit 'a + 0.5*(b - a)' -s a=a.safetensors -s b=b.safetensors -o out.safetensors").status, 0);
  EXPECT_THAT(run("reproduce out.safetensors -s b=a.safetensors").output,
              HasSubstr("source 'b' (a.safetensors) is not the one that was used"));
  fs::rename(folder_ / "b.safetensors", folder_ / "moved.safetensors");
  EXPECT_THAT(run("reproduce out.safetensors").output, HasSubstr("source 'b' is not at b.safetensors any more"));
  EXPECT_EQ(run("reproduce out.safetensors -s b=moved.safetensors").status, 0);
}

TEST_F(CommandLine, ConvertThereAndBackKeepsEveryBit) {
  EXPECT_THAT(run("convert a.safetensors x.gguf").output, HasSubstr("x.gguf: 1 tensor,"));
  EXPECT_EQ(run("convert x.gguf y.npz").status, 0);
  EXPECT_EQ(run("convert a.safetensors z --to folder").status, 0);
  EXPECT_EQ(run("convert x.gguf back.safetensors").status, 0);
  EXPECT_EQ(run("diff -q a.safetensors x.gguf").status, 0);
  EXPECT_EQ(run("diff -q a.safetensors z").status, 0);
  EXPECT_EQ(run("diff -q a.safetensors back.safetensors").status, 0);
  EXPECT_EQ(run("convert a.safetensors half.gguf --dtype F16").status, 0);
  EXPECT_THAT(run("inspect half.gguf").output, HasSubstr("1 tensor of F16"));
  EXPECT_THAT(run("reproduce half.gguf").output, HasSubstr("reproduced, byte for byte"));
}

TEST_F(CommandLine, ConvertRefusesWithTheFix) {
  ASSERT_EQ(run("convert a.safetensors x.gguf").status, 0);
  EXPECT_THAT(run("convert a.safetensors x.gguf").output, HasSubstr("x.gguf is there already; --force replaces it"));
  EXPECT_EQ(run("convert b.safetensors x.gguf --force").status, 0);
  EXPECT_THAT(run("convert a.safetensors a.safetensors --force").output, HasSubstr("would replace source 'in'"));
  EXPECT_THAT(run("convert a.safetensors x.pt").output, HasSubstr("taskvec does not write .pt files"));
  EXPECT_THAT(run("convert a.safetensors x --to onnx").output, HasSubstr("no such output format: 'onnx'"));
  EXPECT_THAT(run("convert a.safetensors x.npz --dtype BF16").output, HasSubstr("numpy lacks; use --dtype F32"));
  EXPECT_THAT(run("convert a.safetensors y --dtype F99").output, HasSubstr("--dtype F99: no such dtype"));
}

TEST_F(CommandLine, VerifyTellsSoundFromBrokenFromUnreadable) {
  const Outcome sound = run("verify a.safetensors");
  EXPECT_EQ(sound.status, 0);
  EXPECT_THAT(sound.output, HasSubstr("a.safetensors: ok"));
  EXPECT_THAT(run("verify --json a.safetensors").output, HasSubstr("\"ok\": true"));
  ASSERT_EQ(run("edit '1e38*a + 1e39*b' -s a=a.safetensors -s b=b.safetensors -o inf.safetensors").status, 0);
  const Outcome broken = run("verify inf.safetensors");
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.output, HasSubstr("problem: tensor 'x.weight' holds 0 NaN and 2 infinite elements"));
  EXPECT_EQ(run("verify nowhere").status, 2);
  fs::resize_file(folder_ / "a.safetensors", 20);
  EXPECT_EQ(run("verify a.safetensors").status, 1);
}

TEST_F(CommandLine, MistakesExitWithTwo) {
  EXPECT_EQ(run("edit 'a + c' -s a=a.safetensors -o o").status, 2);
  EXPECT_EQ(run("inspect nowhere").status, 2);
  EXPECT_EQ(run("frobnicate").status, 2);
  EXPECT_EQ(run("--help").status, 0);
}

TEST_F(CommandLine, ADryRunWritesNothing) {
  const Outcome outcome = run("edit 'interpolate(a, b, 0.25)' -s a=a.safetensors -s b=b.safetensors --dry-run");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("0.75*a + 0.25*b"));
}

TEST_F(CommandLine, ASourceUnderOtherNamesIsMapped) {
  formats::OutputLayout layout;
  layout.tensors = {{"module.x.weight", {Dtype::F32, {2}}, 0}};
  formats::CheckpointWriter(folder_ / "m.safetensors", layout).commit();
  const std::string edit = "edit 'a + 0.5*(m - a)' -s a=a.safetensors -s m=m.safetensors -o out.safetensors";
  EXPECT_THAT(run(edit).output, HasSubstr("m (m.safetensors) is read without 'module.' in its names"));
  EXPECT_EQ(run("reproduce out.safetensors").status, 0);
  EXPECT_THAT(run(edit + " --force --map auto").output, HasSubstr("source 'm' is read with the name map module"));
  EXPECT_EQ(run("reproduce out.safetensors").status, 0);
  EXPECT_THAT(run("inspect m.safetensors --map auto").output, HasSubstr(" x.weight"));
}

TEST_F(CommandLine, AsLoraNeedsAdapters) {
  const Outcome outcome = run("edit '2*a' -s a=a.safetensors --as-lora -o out");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.output, HasSubstr("not a LoRA adapter"));
}

// A script stands in for the program with all commands: it says what environment it was started in.
TEST_F(CommandLine, HandsOverWithOpenMPThreadsThatSleepUnlessTheEnvironmentSaysOtherwise) {
  fs::copy_file(TASKVEC_PROGRAM, folder_ / "taskvec");
  std::ofstream(folder_ / "taskvec-torch") << "#!/bin/sh\necho \"$1 $OMP_WAIT_POLICY\"\n";
  fs::permissions(folder_ / "taskvec-torch", fs::perms::owner_all);
  const auto started = [&](const std::string& environment) {
    return run("--version > version && env " + environment + " ./taskvec finetune").output;
  };
  EXPECT_EQ(started("-u OMP_WAIT_POLICY"), "finetune PASSIVE\n");
  EXPECT_EQ(started("OMP_WAIT_POLICY=ACTIVE"), "finetune ACTIVE\n");
}

}  // namespace
}  // namespace taskvec
