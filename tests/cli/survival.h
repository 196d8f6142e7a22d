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
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace taskvec {

namespace fs = std::filesystem;

inline constexpr int kKills = 50;

inline std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
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

}  // namespace taskvec
