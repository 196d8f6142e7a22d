// Commands that compute and write: what is left of them after a kill, on a full disk, and where two of them write the same.
#include "taskvec/formats/verify.h"
#include "tests/cli/survival.h"
#include "tests/cli/torch/tiny_task.h"

#include <sys/mount.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace taskvec {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using Command = std::vector<std::string>;

class ComputesAndWrites : public Survival {
 protected:
  void SetUp() override {
    Survival::SetUp();
    testing_cli::write_tiny_task(folder_);
    fs::copy_file(folder_ / "t.yaml", folder_ / "u.yaml");
    fs::create_directory_symlink(fs::path(std::getenv("TASKVEC_ASSETS")) / "pocket-clip", folder_ / "pocket-clip");
    fs::create_directory(folder_ / "disk");
    ASSERT_EQ(wait(start(finetune("ft"))), 0) << log();
  }
  void TearDown() override {
    ::umount((folder_ / "disk").c_str());
    Survival::TearDown();
  }

  static Command finetune(const std::string& output) {
    return {"finetune", "-m", "pocket-clip", "-t", "t.yaml",         "-o", output,         "--steps", "4",
            "--warmup", "1",  "--batch",     "8",  "--resume-every", "1",  "--save-steps", "2"};
  }

  /// By name; all that they write lies in disk/.
  static std::map<std::string, Command> commands() {
    const Command sources{"-s", "base=pocket-clip", "-s", "ft=ft"};
    const auto with = [](Command command, const Command& more) {
      command.insert(command.end(), more.begin(), more.end());
      return command;
    };
    return {
        {"finetune", finetune("disk/ft")},
        {"pretrain",
         {"pretrain", "-t", "t.yaml", "-o", "disk/clip", "--steps", "4", "--warmup", "1", "--batch", "8", "--merges", "4"}},
        {"eval", {"eval", "-m", "ft", "-t", "t.yaml", "--predictions", "disk/answers.jsonl", "--force"}},
        {"search", with({"search", "base - $a*(ft - base)", "--grid", "a=0,0.5", "--minimize", "t.yaml", "-o", "disk/search",
                         "--write", "disk/edited", "--force"},
                        sources)},
        {"disentangle",
         {"disentangle", "-m", "pocket-clip", "-s", "a=ft", "-s", "b=ft", "-t", "t.yaml", "-t", "u.yaml", "--grid", "0,1",
          "--mode", "standard", "-o", "disk/map", "--force"}},
        {"ntk", {"ntk", "-m", "pocket-clip", "-t", "t.yaml", "--samples", "4", "-o", "disk/ntk", "--force"}},
        {"demo",
         {"demo", "-m", "pocket-clip", "-t", "t.yaml", "--control", "u.yaml", "--steps", "3", "--linear-steps", "3", "-o",
          "disk/demo"}},
    };
  }

  /// Relative paths of all files in disk/.
  std::set<std::string> written() const {
    std::set<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "disk"))
      if (!entry.is_directory()) paths.insert(fs::relative(entry.path(), folder_ / "disk").string());
    return paths;
  }

  /// Every file in disk/ that says what it is can be read to its end.
  void expect_whole(const std::string& when) const {
    for (const std::string& name : written()) {
      const fs::path file = folder_ / "disk" / name;
      if (name.find(".taskvec-") != std::string::npos) continue;  // of a killed run: the next one removes it
      const std::string bytes = contents(file);
      if (name.ends_with(".safetensors")) {
        EXPECT_NO_THROW(formats::open(file)->fingerprint()) << name << " " << when;
      } else if (name.ends_with(".png")) {
        EXPECT_TRUE(bytes.starts_with("\x89PNG") && bytes.ends_with(std::string("IEND\xae\x42\x60\x82"))) << name << " " << when;
      } else if (name.ends_with(".svg")) {
        EXPECT_THAT(bytes, HasSubstr("</svg>")) << name << " " << when;
      } else if (name.ends_with(".json")) {
        EXPECT_TRUE(nlohmann::json::accept(bytes)) << name << " " << when;
      }
    }
  }
};

TEST_F(ComputesAndWrites, KilledTheyLeaveWholeFilesAndTheNextRunEndsThem) {
  int killed = 0;
  for (const auto& [name, command] : commands()) {
    const auto started = std::chrono::steady_clock::now();
    ASSERT_EQ(wait(start(command)), 0) << name << ": " << log();
    const std::chrono::duration<double> longest = std::chrono::steady_clock::now() - started;
    const std::set<std::string> complete = written();
    EXPECT_FALSE(complete.empty()) << name;
    for (int round = 0; round < kills() / 8; ++round) {
      if (round % 2 == 0)  // else over what is there
        for (const auto& entry : fs::directory_iterator(folder_ / "disk")) fs::remove_all(entry.path());
      killed += kill_somewhere(command, longest.count(), round) ? 1 : 0;
      expect_whole("after a kill of " + name);
    }
    ASSERT_EQ(wait(start(command)), 0) << name << ": " << log();
    EXPECT_EQ(written(), complete) << name;
    expect_whole("of " + name);
    for (const auto& entry : fs::directory_iterator(folder_ / "disk")) fs::remove_all(entry.path());
  }
  std::printf("%d were killed while they ran\n", killed);
  EXPECT_GT(killed, static_cast<int>(commands().size()));
}

TEST_F(ComputesAndWrites, ToAFullDiskTheyFailWithAMessage) {
  if (::mount("tmpfs", (folder_ / "disk").c_str(), "tmpfs", 0, "size=16k") != 0)
    GTEST_SKIP() << "a small disk cannot be mounted here: " << std::strerror(errno);
  const std::string precious(8192 + 4096, 'x');  // leaves a page, which answers of 64 images fit into
  std::ofstream(folder_ / "disk" / "precious") << precious;
  for (const auto& [name, command] : commands()) {
    if (name == "eval") continue;
    EXPECT_EQ(wait(start(command)), 1) << name << log();
    EXPECT_THAT(log(), AllOf(HasSubstr("error: cannot "), HasSubstr("disk/"), HasSubstr("pace"))) << name;
    expect_whole("on a full disk, of " + name);
    EXPECT_EQ(contents(folder_ / "disk" / "precious"), precious) << name;
    for (const auto& entry : fs::directory_iterator(folder_ / "disk"))
      if (entry.path().filename() != "precious") fs::remove_all(entry.path());
  }
}

TEST_F(ComputesAndWrites, BeyondALimitTheyFailWithAMessage) {
  for (const auto& [name, command] : commands()) {
    EXPECT_EQ(wait(start(command, 512)), 1) << name << log();
    expect_whole("beyond a limit, of " + name);
    for (const auto& entry : fs::directory_iterator(folder_ / "disk")) fs::remove_all(entry.path());
  }
}

TEST_F(ComputesAndWrites, TwoAtATimeDoNotSpoilEachOther) {
  for (const auto& [name, command] : commands()) {
    const pid_t first = start(command), second = start(command);
    const int a = wait(first), b = wait(second);
    // The second may be told that the folder is in use, or that something appeared meanwhile; one of them is through.
    EXPECT_TRUE(a == 0 || b == 0) << name << ": " << a << ", " << b << log();
    EXPECT_THAT(std::max(a, b), AnyOf(0, 1, 2)) << name << log();
    expect_whole("of two of " + name);
    const std::set<std::string> together = written();
    for (const auto& entry : fs::directory_iterator(folder_ / "disk")) fs::remove_all(entry.path());
    ASSERT_EQ(wait(start(command)), 0) << name << ": " << log();
    EXPECT_EQ(together, written()) << name;
    for (const auto& entry : fs::directory_iterator(folder_ / "disk")) fs::remove_all(entry.path());
  }
}

}  // namespace
}  // namespace taskvec
