#include "taskvec/train/run_folder.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "tests/message_of.h"
#include "tests/models/tiny_clip.h"

#include <gtest/gtest.h>

namespace taskvec::train {
namespace {

using nlohmann::json;
using testing_models::TemporaryFolder;
namespace fs = std::filesystem;

const json kAsked = {{"command", "finetune"}, {"steps", 10}, {"learning_rate", 0.001}};

bridge::Params weights(double value) {
  bridge::Params params;
  params.add("w", at::full({3}, value));
  return params;
}

class RunFolderTest : public testing::Test {
 protected:
  std::string error_of(const json& asked, bool force = false, ErrorCode code = ErrorCode::InvalidArgument) const {
    return message_of(code, [&] { const RunFolder run(out_, asked, {}, force); });
  }
  void finish(double value) const {
    RunFolder(out_, kAsked, {}, false).finish(weights(value), {}, nullptr, {{"final_loss", value}});
  }
  double saved() const { return bridge::load(*formats::open(out_ / "model.safetensors")).at("w")[0].item<double>(); }

  TemporaryFolder folder_;
  fs::path out_ = folder_.path() / "out";
};

TEST_F(RunFolderTest, ResumesFromTheLastSnapshotAndForgetsWhatCameAfter) {
  {
    RunFolder run(out_, kAsked, {}, false);
    EXPECT_FALSE(run.resume());
    for (int step = 1; step <= 5; ++step) {
      run.record({{"step", step}, {"loss", 1.0 / step}});
      if (step % 2 == 0) run.snapshot(step, weights(step));
    }
  }
  RunFolder run(out_, kAsked, {}, false);
  EXPECT_FALSE(run.result());
  const auto snapshot = run.resume();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->step, 4);
  EXPECT_EQ(snapshot->state.at("w")[2].item<double>(), 4.0);
  ASSERT_EQ(run.metrics().size(), 4U);
  run.record({{"step", 5}, {"loss", 0.2}});
  EXPECT_EQ(run.metrics().back()["step"], 5);
}

TEST_F(RunFolderTest, AFinishedRunIsRememberedAndHasNoSnapshot) {
  {
    RunFolder run(out_, kAsked, {{"model", "somewhere"}}, false);
    run.snapshot(3, weights(3));
    run.finish(weights(7), {{"taskvec.task", "t"}}, nullptr, {{"final_loss", 0.5}});
    EXPECT_EQ((*run.result())["final_loss"], 0.5);
  }
  EXPECT_FALSE(fs::exists(out_ / "resume.safetensors"));
  EXPECT_EQ(formats::open(out_ / "model.safetensors")->manifest().metadata.at("taskvec.task"), "t");
  const RunFolder again(out_, kAsked, {}, false);
  ASSERT_TRUE(again.result());
  EXPECT_EQ((*again.result())["final_loss"], 0.5);
  const json record = json::parse(read_file(out_ / "run.json"));
  EXPECT_EQ(record["state"], "finished");
  EXPECT_EQ(record["asked"], kAsked);
  EXPECT_EQ(record["about"]["model"], "somewhere");
}

TEST_F(RunFolderTest, ARunWhoseModelWasRemovedGoesOn) {
  finish(1);
  fs::remove(out_ / "model.safetensors");
  EXPECT_FALSE(RunFolder(out_, kAsked, {}, false).result());
}

TEST_F(RunFolderTest, SidecarsComeAlongButNotTheRecordsOfOtherRuns) {
  const fs::path base = folder_.path() / "base";
  testing_models::write_model(base, testing_models::tiny_config(), weights(1));
  for (const char* name : {"vocab.json", "run.json", "metrics.jsonl"}) write_file_atomically(base / name, name);
  const auto like = formats::open(base);
  RunFolder run(out_, kAsked, {}, false);
  run.save_checkpoint(2, weights(2), {}, *like);
  run.finish(weights(3), {}, like.get(), json::object());
  EXPECT_EQ(read_file(out_ / "vocab.json"), "vocab.json");
  EXPECT_EQ(read_file(out_ / "config.json"), read_file(base / "config.json"));
  EXPECT_EQ(json::parse(read_file(out_ / "run.json"))["state"], "finished");
  EXPECT_FALSE(fs::exists(out_ / "metrics.jsonl"));
  EXPECT_EQ(saved(), 3.0);
  const fs::path checkpoint = out_ / "checkpoints" / "step-000002";
  EXPECT_EQ(bridge::load(*formats::open(checkpoint)).at("w")[0].item<double>(), 2.0);
  EXPECT_TRUE(fs::exists(checkpoint / "config.json"));
}

TEST_F(RunFolderTest, AnotherQuestionIsAnError) {
  finish(1);
  json other = kAsked;
  other["learning_rate"] = 0.01;
  EXPECT_EQ(error_of(other),
            out_.string() +
                ": the folder holds a finished run with learning_rate 0.001 instead of 0.01; choose another folder, "
                "ask for the same, or start anew with --force");
  EXPECT_EQ(saved(), 1.0);
  RunFolder forced(out_, other, {}, true);
  EXPECT_FALSE(forced.result());
  EXPECT_EQ(saved(), 1.0);  // until the new one is whole
  forced.finish(weights(2), {}, nullptr, {{"final_loss", 2}});
  EXPECT_EQ(saved(), 2.0);
  EXPECT_FALSE(fs::exists(out_ / "next"));
  EXPECT_EQ(report::read_run(out_)["asked"], other);
}

TEST_F(RunFolderTest, NeverTouchesWhatIsNoRunOfItsKind) {
  json pretrain = kAsked;
  pretrain["command"] = "pretrain";
  finish(1);
  EXPECT_EQ(
      error_of(pretrain, /*force=*/true),
      out_.string() + ": the folder holds the run of another command (\"finetune\", not \"pretrain\"); choose another folder");
  fs::remove(out_ / "run.json");
  EXPECT_EQ(error_of(kAsked, /*force=*/true).find(out_.string() + ": the folder holds '"), 0U);
  EXPECT_EQ(saved(), 1.0);
}

// A name proves nothing: what lies where a new run would put something was put there by one, or it stays and is listed.
TEST_F(RunFolderTest, ForceReplacesOnlyWhatARunLeft) {
  const auto write = [&](const fs::path& file) {
    fs::create_directories(file.parent_path());
    write_file_atomically(file, "precious");
  };
  const auto refused = [&](const std::string& what) {
    EXPECT_EQ(error_of(kAsked, /*force=*/true), out_.string() + ": a new run would replace what no earlier one left like that: " +
                                                    what + "; move it away, or choose another folder");
    EXPECT_EQ(saved(), 1.0);
  };
  const fs::path elsewhere = folder_.path() / "elsewhere";
  write(elsewhere / "model.safetensors");
  finish(1);
  for (const char* name : {"next", "checkpoints", "origin"}) {
    fs::create_directory_symlink(elsewhere, out_ / name);
    refused(name);
    fs::remove(out_ / name);
    write(out_ / name / "thesis.txt");
    refused(std::string(name) == "checkpoints" ? "checkpoints/thesis.txt" : name);
    EXPECT_EQ(read_file(out_ / name / "thesis.txt"), "precious");
    fs::remove_all(out_ / name);
  }
  fs::create_directory(out_ / "checkpoints");
  bridge::save(weights(5), out_ / "checkpoints" / "step-000001", {});  // of somebody else
  refused("checkpoints/step-000001");
  fs::remove_all(out_ / "checkpoints");
  EXPECT_EQ(read_file(elsewhere / "model.safetensors"), "precious");

  bridge::save(weights(1), out_ / "model.safetensors", {{"taskvec.version", "0"}});  // the same weights
  { const RunFolder forced(out_, kAsked, {}, true); }
  fs::remove_all(out_ / "next");
  bridge::save(weights(7), out_ / "model.safetensors", {{"taskvec.version", "0"}});
  EXPECT_NE(error_of(kAsked, /*force=*/true).find("left like that: model.safetensors;"), std::string::npos);
  EXPECT_NE(error_of(kAsked).find("is not the model that it wrote"), std::string::npos);
  EXPECT_EQ(saved(), 7.0);
}

// What somebody put beside a new run while it was trained stays where it is.
TEST_F(RunFolderTest, AFinishedNewRunTakesItsOwnFilesAlong) {
  finish(1);
  RunFolder forced(out_, kAsked, {}, true);
  write_file_atomically(out_ / "next" / "thesis.pdf.bak", "precious");
  fs::create_directory(out_ / "next" / "mine");
  forced.finish(weights(2), {}, nullptr, {{"final_loss", 2}});
  EXPECT_EQ(saved(), 2.0);
  EXPECT_TRUE(fs::exists(out_ / "next" / "mine"));
}

TEST_F(RunFolderTest, OneProcessAtATime) {
  const RunFolder run(out_, kAsked, {}, false);
  EXPECT_EQ(error_of(kAsked),
            out_.string() + ": another process is training into this folder; wait for it or choose another folder");
}

TEST_F(RunFolderTest, AFolderThatCannotBeMade) {
  write_file_atomically(folder_.path() / "file", "");
  out_ = folder_.path() / "file" / "out";
  EXPECT_EQ(error_of(kAsked, false, ErrorCode::Io).find(out_.string() + ": the output folder cannot be made: "), 0U);
}

TEST_F(RunFolderTest, ASnapshotWithoutStep) {
  RunFolder run(out_, kAsked, {}, false);
  bridge::save(weights(1), out_ / "resume.safetensors", {{"step", "many"}});
  try {
    run.resume();
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), (out_ / "resume.safetensors").string() +
                                ": its metadata has no valid 'step'; delete the file to train from the start");
  }
}

}  // namespace
}  // namespace taskvec::train
