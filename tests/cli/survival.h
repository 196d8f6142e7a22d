#pragma once

#include "taskvec/core/random.h"
#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

namespace taskvec {

namespace fs = std::filesystem;

inline constexpr int kKills = 50;

/// Random moments at which a command is killed; TASKVEC_KILLS=200 asks for more.
inline int kills() {
  const char* set = std::getenv("TASKVEC_KILLS");
  return set != nullptr ? std::atoi(set) : kKills;
}

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A file's bytes, or names and bytes of all that lies in a folder.
inline std::string everything_in(const fs::path& path) {
  if (!fs::is_directory(path)) return contents(path);
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) files[entry.path().filename().string()] = everything_in(entry.path());
  std::string all;
  for (const auto& [name, bytes] : files) all += name + '\0' + bytes;
  return all;
}

/// Runs the program in a folder of its own and kills it.
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
    layout.metadata["taskvec.version"] = "0";  // --force replaces it
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

  /// How many files there are in the folder beside the log.
  int files() const {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) count += entry.path().filename() != "log";
    return count;
  }

  /// Kills commands that write `target` at random moments, `rounds` times each. Every time the target is what it was before or
  /// what the command makes of it, complete; and the next run clears up.
  /// @param old  what the target is before
  void expect_old_or_new(const std::vector<std::vector<std::string>>& commands, const std::string& target, const std::string& old,
                         int rounds) const {
    int killed = 0, replaced = 0;
    const auto restore = [&] {
      fs::remove_all(folder_ / target);
      fs::copy(folder_ / old, folder_ / target, fs::copy_options::recursive);
    };
    restore();
    const std::string before = everything_in(folder_ / target);
    const int expected_files = files();
    for (const auto& command : commands) {
      const auto started = std::chrono::steady_clock::now();
      ASSERT_EQ(wait(start(command)), 0) << log();
      const std::chrono::duration<double> longest = std::chrono::steady_clock::now() - started;
      const std::string complete = everything_in(folder_ / target);
      ASSERT_NE(complete, before);
      for (int round = 0; round < rounds; ++round) {
        restore();
        killed += kill_somewhere(command, 1.2 * longest.count(), round) ? 1 : 0;
        const std::string left = everything_in(folder_ / target);
        ASSERT_TRUE(left == before || left == complete) << left.size() << " bytes after round " << round;
        replaced += left == complete ? 1 : 0;
      }
      ASSERT_EQ(wait(start(command)), 0) << log();
      EXPECT_EQ(files(), expected_files) << "the killed ones left something behind";
    }
    const int runs = rounds * static_cast<int>(commands.size());
    std::printf("%d of %d were killed while they ran; %d had replaced the target\n", killed, runs, replaced);
    EXPECT_GE(killed, runs / 5) << "the kills came too late to prove anything";
  }

  fs::path folder_;
};

}  // namespace taskvec
