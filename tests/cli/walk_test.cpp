#include "taskvec/formats/writer.h"
#include "tests/cli/program.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include <cstring>
#include <sstream>
#include <vector>

namespace taskvec {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using testing_cli::Outcome;

/// Every command, by its help; two tiny checkpoints `a` and `b`.
class Walk : public testing_cli::Program {
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

  /// The commands that the program's help lists: lines of two blanks and a word.
  std::vector<std::string> commands() const {
    std::vector<std::string> names;
    std::istringstream lines(run("--help").output);
    for (std::string line; std::getline(lines, line);) {
      if (line.size() > 3 && line.starts_with("  ") && line[2] != ' ' && line.find("taskvec ") == std::string::npos)
        names.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
    return names;
  }
};

TEST_F(Walk, EveryCommandHasTheCommonOptionsAndHelpThatFits) {
  const auto names = commands();
  EXPECT_GE(names.size(), 9U);
  for (const std::string& name : names) {
    const Outcome help = run("help " + name);
    EXPECT_EQ(help.status, 0) << name;
    EXPECT_EQ(help.output, run(name + " --help").output);
    for (const char* option : {"-h, --help", "-q, --quiet", "--json", "--threads"})
      EXPECT_THAT(help.output, HasSubstr(option)) << name;
    std::istringstream lines(help.output);
    for (std::string line; std::getline(lines, line);) {
      size_t columns = 0;
      for (const char c : line) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
      EXPECT_LE(columns, 120U) << name << ": " << line;
    }
  }
}

TEST_F(Walk, EveryCommandTellsMistakesInOneForm) {
  for (const std::string& name : commands()) {
    const Outcome unknown = run(name + " --qiuet");
    EXPECT_EQ(unknown.status, 2) << name;
    EXPECT_THAT(unknown.output, HasSubstr("error: `taskvec " + name + "` has no option --qiuet; did you mean '--quiet'?"))
        << name;
    const Outcome threads = shell("$TASKVEC " + name + " --threads 0 --json 2> /dev/null");
    EXPECT_EQ(threads.status, 2) << name;
    const json told = json::parse(threads.output, nullptr, false);
    ASSERT_TRUE(told.is_object()) << name << ": " << threads.output;
    EXPECT_EQ(told["command"], name);
    EXPECT_EQ(told["error"]["exit_code"], 2);
    EXPECT_TRUE(told.contains("taskvec"));
  }
}

TEST_F(Walk, ResultsHaveOneEnvelope) {
  for (const char* arguments :
       {"inspect a.safetensors", "verify a.safetensors", "diff a.safetensors a.safetensors",
        "edit 'a + 0.5*(b - a)' -s a=a.safetensors -s b=b.safetensors -o o.safetensors", "reproduce o.safetensors",
        "convert a.safetensors c.npz", "extract a.safetensors b.safetensors -o tv.safetensors --lossless",
        "apply a.safetensors tv.safetensors -o back.safetensors"}) {
    const Outcome outcome = shell(std::string("$TASKVEC ") + arguments + " --json 2> /dev/null");
    EXPECT_EQ(outcome.status, 0) << arguments;
    const json told = json::parse(outcome.output, nullptr, false);
    ASSERT_TRUE(told.is_object()) << arguments << ": " << outcome.output;
    EXPECT_EQ(told["command"], std::string(arguments).substr(0, std::string(arguments).find(' ')));
    EXPECT_TRUE(told.contains("taskvec") && told.contains("result")) << arguments;
  }
}

TEST_F(Walk, ShellsCompleteCommandsAndOptions) {
  std::ofstream(folder_ / "complete.sh") << "eval \"$($TASKVEC completions bash)\"\nCOMP_CWORD=$1; shift; COMP_WORDS=(\"$@\")\n"
                                            "_taskvec\necho \"${COMPREPLY[*]}\"\n";
  const auto complete = [&](const std::string& words, int at) {
    return shell("bash complete.sh " + std::to_string(at) + " " + words).output;
  };
  EXPECT_EQ(complete("taskvec ed", 1), "edit\n");
  EXPECT_EQ(complete("taskvec edit --on", 2), "--on-overflow\n");
  EXPECT_EQ(complete("taskvec search --sub", 2), "--subject-to\n");
  EXPECT_EQ(complete("taskvec edit mod", 2), "\n");  // files, by the shell
  const std::string manual = run("completions man").output;
  for (const char* part : {".TH TASKVEC 1", ".SS finetune", "\\-\\-on\\-overflow"}) EXPECT_THAT(manual, HasSubstr(part));
  EXPECT_THAT(run("completions fish").output, HasSubstr("__fish_seen_subcommand_from search' -l subject-to -r"));
  EXPECT_THAT(run("completions zsh").output, HasSubstr("#compdef taskvec"));
}

TEST_F(Walk, WhatPeopleTypeIsAnswered) {
  EXPECT_EQ(run("-V").output, run("--version").output);
  EXPECT_THAT(run("").output, HasSubstr("Understand:"));
  EXPECT_THAT(run("inspct a.safetensors").output, HasSubstr("did you mean 'inspect'?"));
  EXPECT_THAT(run("merge recipe.yml").output, HasSubstr("a merge is an edit: taskvec edit"));
  EXPECT_THAT(run("recipe.yml").output, HasSubstr("recipes are not read yet"));
  EXPECT_THAT(run("edit recipe.yml -s a=a.safetensors -o o").output, HasSubstr("recipes are not read"));
  EXPECT_THAT(run("edit 'dare(a, b)' -s a=a.safetensors -o o").output, HasSubstr("dare is a merge method"));
  EXPECT_THAT(run("edit 'a + 0.3(b - a)' -s a=a.safetensors -s b=b.safetensors -o o").output,
              HasSubstr("products are written with *"));
  EXPECT_THAT(run("edit a -s a=a.safetensors --ouput o").output, HasSubstr("did you mean '--output'?"));
  EXPECT_THAT(run("edit a -s a=a.safetensors -o no/such/folder/o.safetensors").output, HasSubstr("no/such/folder"));
  for (const char* expression : {"-a", "-(a)", "-.5*a", "-2*a"})
    EXPECT_EQ(run(std::string("edit '") + expression + "' -s a=a.safetensors -o n.safetensors --force").status, 0) << expression;
  for (const char* dtype : {"bf16", "BF16", "bfloat16", "BFloat16", "fp16", "f32", "float32"})
    EXPECT_EQ(run(std::string("convert a.safetensors d.safetensors --force --dtype ") + dtype).status, 0) << dtype;
}

TEST_F(Walk, StreamsThatCannotBeWritten) {
  for (const char* command :
       {"inspect a.safetensors", "verify a.safetensors --json", "diff a.safetensors a.safetensors --json"}) {
    EXPECT_EQ(shell(std::string("$TASKVEC ") + command + " > /dev/full 2> message").status, 1) << command;
    EXPECT_THAT(shell("cat message").output, HasSubstr("cannot write the result to stdout")) << command;
  }
  // Closed or full: the same result and status as with a stderr.
  for (const char* how : {"2>&-", "2> /dev/full"}) {
    EXPECT_EQ(shell(std::string("$TASKVEC verify nowhere ") + how).status, 2);
    EXPECT_EQ(
        shell(std::string("$TASKVEC edit 'a + b' -s a=a.safetensors -s b=b.safetensors -o s.safetensors --force ") + how).status,
        0);
    EXPECT_EQ(shell("$TASKVEC verify s.safetensors > /dev/null").status, 0);
  }
  EXPECT_EQ(shell("(ulimit -f 0; $TASKVEC edit 'a*2' -s a=a.safetensors -o big.safetensors 2> message)").status, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "big.safetensors"));
}

TEST_F(Walk, NamesOfStrangersReachNoTerminal) {
  formats::OutputLayout layout;
  layout.tensors = {{"w\x1b]0;x\x07\xc2\x9b\xe2\x80\xae", {Dtype::F32, {1}}, 0}};
  layout.metadata = {{"note\x1b[2J", "value\x1b[2J"}};
  formats::CheckpointWriter writer(folder_ / "evil.safetensors", layout);
  writer.commit();
  ASSERT_EQ(shell("cp evil.safetensors 'e\x1b[2J.safetensors'").status, 0);
  for (const char* command : {"inspect evil.safetensors", "inspect evil.safetensors --json", "verify 'e\x1b[2J.safetensors'",
                              "diff evil.safetensors a.safetensors", "edit 'e*2' -s e=evil.safetensors --dry-run",
                              "edit 'e*2' -s e=evil.safetensors -o 'o\x1b[2J.safetensors' --force"}) {
    const std::string output = run(command).output;
    for (const char* bad : {"\x1b", "\x07", "\xc2\x9b", "\xe2\x80\xae"}) EXPECT_THAT(output, Not(HasSubstr(bad))) << command;
  }
}

}  // namespace
}  // namespace taskvec
