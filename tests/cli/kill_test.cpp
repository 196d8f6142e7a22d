// What survives a kill, a full disk, an output that cannot be written and an input that changes: the old file or nothing.
#include "tests/cli/survival.h"

#include <sys/mount.h>
#include <sys/stat.h>

namespace taskvec {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using Command = std::vector<std::string>;

constexpr int64_t kElements = 8 << 20;

Command edit_command(const std::string& output) {
  return {"edit", "a + 0.5*(b - a)", "-s", "a=a.safetensors", "-s", "b=b.safetensors", "-o", output, "--force"};
}

Command extract_command(const std::string& output, const Command& kind = {}) {
  Command command{"extract", "a.safetensors", "b.safetensors", "-o", output, "--force"};
  command.insert(command.end(), kind.begin(), kind.end());
  return command;
}

TEST_F(Survival, AKilledEditLeavesTheOldFileOrTheNewOne) {
  make_checkpoint("a.safetensors", 1.0F, kElements);
  make_checkpoint("b.safetensors", 2.0F, kElements);
  make_checkpoint("old.safetensors", 3.0F, 10);
  expect_old_or_new({edit_command("out.safetensors")}, "out.safetensors", "old.safetensors", kills());
}

// A folder is replaced in one step, too, and the one that was there is cleared away.
TEST_F(Survival, AKilledConversionLeavesTheOldFolderOrTheNewOne) {
  make_checkpoint("a.safetensors", 1.0F, kElements);
  fs::create_directory(folder_ / "in");
  fs::rename(folder_ / "a.safetensors", folder_ / "in" / "model.safetensors");
  std::ofstream(folder_ / "in" / "config.json") << "{}";
  fs::create_directory(folder_ / "old");
  make_checkpoint("old/model.safetensors", 3.0F, 10);
  std::ofstream(folder_ / "old" / "tokenizer.json") << "old";
  expect_old_or_new({{"convert", "in", "out", "--dtype", "BF16", "--force"}, {"convert", "in", "out", "--force"}}, "out", "old",
                    kills() / 2);
}

TEST_F(Survival, AKilledConversionLeavesTheOldArchiveOrTheNewOne) {
  make_checkpoint("a.safetensors", 1.0F, kElements);
  make_checkpoint("old.npz", 3.0F, 10);
  expect_old_or_new({{"convert", "a.safetensors", "out.npz", "--force"}}, "out.npz", "old.npz", kills());
}

TEST_F(Survival, AKilledExtractLeavesTheOldFileOrTheNewOne) {
  make_checkpoint("a.safetensors", 1.0F, kElements / 4);
  make_checkpoint("b.safetensors", 2.0F, kElements / 4);
  make_checkpoint("old.safetensors", 3.0F, 10);
  expect_old_or_new({extract_command("tv.safetensors", {"--lossless"}), extract_command("tv.safetensors", {"--sparse", "0.1"})},
                    "tv.safetensors", "old.safetensors", kills() / 2);
}

/// Every command that writes a checkpoint, with its output in a folder `disk`.
class Writes : public Survival {
 protected:
  void SetUp() override {
    Survival::SetUp();
    make_checkpoint("a.safetensors", 1.0F, 1 << 20);
    make_checkpoint("b.safetensors", 2.0F, 1 << 20);
    ASSERT_EQ(wait(start(extract_command("exact.safetensors", {"--lossless"}))), 0) << log();
    fs::create_directory(folder_ / "disk");
  }
  void TearDown() override {
    ::umount(disk().c_str());
    Survival::TearDown();
  }

  fs::path disk() const { return folder_ / "disk"; }
  bool mount_disk(unsigned long flags) const { return ::mount("tmpfs", disk().c_str(), "tmpfs", flags, "size=1m") == 0; }

  static std::vector<Command> commands() {
    return {edit_command("disk/out.safetensors"),
            edit_command("disk/out"),
            {"convert", "a.safetensors", "disk/out.gguf", "--force"},
            {"convert", "a.safetensors", "disk/out.npz", "--force"},
            extract_command("disk/out.safetensors"),
            extract_command("disk/out.safetensors", {"--sparse", "0.5"}),
            {"apply", "a.safetensors", "exact.safetensors", "-o", "disk/out.safetensors", "--force"}};
  }
};

TEST_F(Writes, ToAFullDiskFailAndLeaveNothing) {
  if (!mount_disk(0)) GTEST_SKIP() << "a small disk cannot be mounted here: " << std::strerror(errno);
  std::ofstream(disk() / "old") << "old";
  for (const auto& command : commands()) {
    EXPECT_EQ(wait(start(command)), 1);
    EXPECT_THAT(log(), AllOf(HasSubstr("error: cannot write disk/"), HasSubstr("free some space")));
    EXPECT_EQ(everything_in(disk()), std::string("old\0old", 7)) << log();
  }
}

TEST_F(Writes, ToAReadOnlyDiskFail) {
  if (!mount_disk(MS_RDONLY)) GTEST_SKIP() << "a read-only disk cannot be mounted here: " << std::strerror(errno);
  for (const auto& command : commands()) {
    EXPECT_EQ(wait(start(command)), 1);
    EXPECT_THAT(log(), AllOf(HasSubstr("error: cannot write disk/"), HasSubstr("that you may write to")));
  }
}

// The same where nothing can be mounted: files may not grow beyond a size, and /proc takes no files.
TEST_F(Writes, BeyondALimitFailAndLeaveNothing) {
  for (const auto& command : commands()) {
    EXPECT_EQ(wait(start(command, 1 << 20)), 1);
    EXPECT_THAT(log(), HasSubstr("error: cannot write disk/"));
    EXPECT_TRUE(fs::is_empty(disk()));
  }
  EXPECT_EQ(wait(start(edit_command("/proc/out.safetensors"))), 1);
  EXPECT_THAT(log(), HasSubstr("/proc/out.safetensors"));
}

// The name does not matter: links and other spellings of a path lead to the same file.
// Not by its own name, but with the folder that it lies in, or into its own folder.
TEST_F(Writes, OverAFolderWithASourceInItAreRefused) {
  fs::create_directories(folder_ / "zoo" / "clip");
  fs::copy_file(folder_ / "a.safetensors", folder_ / "zoo" / "clip" / "model.safetensors");
  std::ofstream(folder_ / "zoo" / "thesis.txt") << "precious";
  const std::string before = everything_in(folder_ / "zoo");
  for (const std::string output : {"zoo", "zoo/clip", "zoo/clip/deeper", "."}) {
    for (const auto& command : {Command{"edit", "a*2", "-s", "a=zoo/clip", "-o", output, "--force"},
                                Command{"edit", "b*2", "-s", "a=zoo/clip", "-s", "b=b.safetensors", "-o", output, "--force"},
                                Command{"convert", "zoo/clip", output, "--force", "--to", "folder"},
                                Command{"extract", "zoo/clip", "b.safetensors", "-o", output, "--force"}}) {
      EXPECT_EQ(wait(start(command)), 2) << output;
      EXPECT_THAT(log(), HasSubstr("would replace source"));
      EXPECT_EQ(everything_in(folder_ / "zoo"), before);
    }
  }
}

// --force replaces what taskvec wrote, and nothing else.
TEST_F(Writes, OverSomebodysFilesAreRefused) {
  fs::create_directories(folder_ / "home" / ".git");
  std::ofstream(folder_ / "home" / "main.c") << "int main;";
  ASSERT_EQ(wait(start({"convert", "a.safetensors", "model"})), 0) << log();
  std::ofstream(folder_ / "model" / "thesis.txt.bak") << "precious";
  std::ofstream(folder_ / "notes.safetensors") << "precious";
  ASSERT_EQ(::mkfifo((folder_ / "pipe.safetensors").c_str(), 0600), 0);
  for (const std::string output : {"home", "model", "notes.safetensors", "pipe.safetensors"}) {
    const std::string before = output.starts_with("pipe") ? "" : everything_in(folder_ / output);
    for (const auto& command : {edit_command(output), extract_command(output, {"--lossless"}), extract_command(output),
                                Command{"apply", "a.safetensors", "exact.safetensors", "-o", output, "--force"}}) {
      EXPECT_EQ(wait(start(command)), 2) << output << log();
      EXPECT_THAT(log(), HasSubstr("choose another path"));
      EXPECT_EQ(output.starts_with("pipe") ? "" : everything_in(folder_ / output), before);
    }
  }
  fs::remove(folder_ / "model" / "thesis.txt.bak");
  EXPECT_EQ(wait(start(edit_command("model"))), 0) << log();
}

TEST_F(Writes, OverASourceAreRefused) {
  fs::create_symlink("a.safetensors", folder_ / "link.safetensors");
  fs::create_hard_link(folder_ / "a.safetensors", folder_ / "hard.safetensors");
  const std::string before = contents(folder_ / "a.safetensors");
  for (const std::string output : {"a.safetensors", "./disk/../a.safetensors", "link.safetensors", "hard.safetensors"}) {
    for (const auto& command : {edit_command(output), extract_command(output, {"--lossless"}), extract_command(output),
                                Command{"convert", "a.safetensors", output, "--force"},
                                Command{"apply", "a.safetensors", "exact.safetensors", "-o", output, "--force"}}) {
      EXPECT_EQ(wait(start(command)), 2) << output;
      EXPECT_THAT(log(), HasSubstr("would replace source"));
      EXPECT_EQ(contents(folder_ / "a.safetensors"), before);
    }
  }
}

// Cut off while it is mapped: what is read beyond the new end ends the program, but with a message.
TEST_F(Survival, AnInputThatShrinksIsAnErrorAtAnyMoment) {
  make_checkpoint("b.safetensors", 2.0F, kElements);
  const auto size = fs::file_size(folder_ / "b.safetensors");
  fs::copy_file(folder_ / "b.safetensors", folder_ / "a.safetensors");
  const auto started = std::chrono::steady_clock::now();
  ASSERT_EQ(wait(start(edit_command("out.safetensors"))), 0) << log();
  const std::chrono::duration<double> longest = std::chrono::steady_clock::now() - started;
  int noticed = 0;
  for (int round = 0; round < kills() / 2; ++round) {
    const auto& command = round % 2 == 0 ? edit_command("out.safetensors") : extract_command("out.safetensors");
    fs::remove(folder_ / "out.safetensors");
    fs::copy_file(folder_ / "b.safetensors", folder_ / "a.safetensors", fs::copy_options::overwrite_existing);
    const pid_t child = start(command);
    const double seconds = longest.count() * Philox(1, 0).uniform(static_cast<uint64_t>(round));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    fs::resize_file(folder_ / "a.safetensors", size / 4);
    const int status = wait(child);
    if (status == 0) {
      EXPECT_TRUE(fs::exists(folder_ / "out.safetensors"));
      continue;
    }
    ++noticed;
    EXPECT_THAT(status, AnyOf(1, 2)) << log();
    EXPECT_THAT(log(), AnyOf(HasSubstr("was cut off while it was being read"), HasSubstr("was changed while it was being read"),
                             HasSubstr("it may be truncated")));
    EXPECT_FALSE(fs::exists(folder_ / "out.safetensors"));
  }
  EXPECT_GT(noticed, 0);
}

}  // namespace
}  // namespace taskvec
