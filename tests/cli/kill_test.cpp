// What survives a kill, a full disk and an output that cannot be written: the old file or nothing, and training that goes on.
#include "taskvec/core/random.h"
#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace taskvec {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int kKills = 50;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Survival : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "kill_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  void make_checkpoint(const std::string& name, float value, int64_t n) const {
    formats::OutputLayout layout;
    layout.tensors = {{"w", {Dtype::F32, {n}}, 0}};
    formats::CheckpointWriter writer(folder_ / name, layout);
    auto bytes = writer.tensor(0);
    for (int64_t i = 0; i < n; ++i) std::memcpy(bytes.data() + 4 * i, &value, 4);
    writer.commit();
  }

  /// Starts the program in the folder, with its output going to `log`.
  pid_t start(const std::vector<std::string>& arguments, rlim_t largest_file = RLIM_INFINITY) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    std::vector<char*> argv;
    static const std::string program = TASKVEC_PROGRAM;
    argv.push_back(const_cast<char*>(program.c_str()));
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const bool ready = ::chdir(folder_.c_str()) == 0 && ::freopen("log", "w", stdout) && ::dup2(1, 2) == 2;
    if (largest_file != RLIM_INFINITY) {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{largest_file, largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (ready) ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  /// Exit status, or -1 when it was killed.
  static int wait(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string log() const { return contents(folder_ / "log"); }

  /// Kills the command at a random moment. @return true when it was still running
  bool kill_somewhere(const std::vector<std::string>& arguments, double longest, int round) const {
    const pid_t child = start(arguments);
    const double seconds = longest * Philox(20241124, 0).uniform(static_cast<uint64_t>(round));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    ::kill(child, SIGKILL);
    return wait(child) == -1;
  }

  fs::path folder_;
};

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

TEST_F(Survival, AKilledFineTuningGoesOnToTheSameModel) {
  if (wait(start({"finetune", "--help"})) != 0) GTEST_SKIP() << "this build has no libtorch";
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
