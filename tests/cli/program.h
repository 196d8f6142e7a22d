#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace taskvec::testing_cli {

struct Outcome {
  int status;
  std::string output;  ///< what the shell command left on its stdout
};

/// Runs shell commands, in which $TASKVEC is the program, in a folder of their own.
class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "cli_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Outcome shell(const std::string& command) const {
    const std::string line = "cd " + folder_.string() + " && export TASKVEC=" TASKVEC_PROGRAM " && " + command;
    FILE* pipe = ::popen(line.c_str(), "r");
    Outcome outcome{-1, ""};
    if (pipe == nullptr) return outcome;
    std::array<char, 4096> buffer;
    for (size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) outcome.output.append(buffer.data(), n);
    const int status = ::pclose(pipe);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome;
  }
  /// The program with these arguments; stdout and stderr together.
  Outcome run(const std::string& arguments) const { return shell("$TASKVEC " + arguments + " 2>&1"); }

  std::filesystem::path folder_;
};

}  // namespace taskvec::testing_cli
