// Searches as people ask for them.
#include "tests/cli/program.h"

#include <gmock/gmock.h>

#include <fstream>

namespace taskvec {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_cli::Outcome;

class Searches : public testing_cli::Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    std::ofstream(folder_ / "doodles.yaml")
        << "source: {idx: {folder: ., train: [i, l], test: [i, l]}}\nclasses: [left, right]\n";
    std::ofstream images(folder_ / "i", std::ios::binary), labels(folder_ / "l", std::ios::binary);
    images << std::string("\0\0\x08\x03\0\0\0\x40\0\0\0\x1c\0\0\0\x1c", 16);
    labels << std::string("\0\0\x08\x01\0\0\0\x40", 8);
    for (int i = 0; i < 64; ++i)  // a half of the picture is white
      for (int p = 0; p < 784; ++p) images << static_cast<char>((p % 28 < 14) == (i % 2 == 0) ? 255 : i);
    for (int i = 0; i < 64; ++i) labels << static_cast<char>(i % 2);
    images.close();
    labels.close();
    ASSERT_EQ(run("finetune -m pocket-clip -t doodles.yaml -o ft --steps 10 --warmup 1 --batch 8 -q").status, 0);
  }
  Outcome search(const std::string& sources, const std::string& more) const {
    return run("search 'pt + $a*(ft - pt)' " + sources + " --grid a=0,0.5,1 --maximize doodles.yaml " + more);
  }
};

TEST_F(Searches, MakeTheModelThatTheyFound) {
  const std::string sources = "-s pt=pocket-clip -s ft=ft";
  const Outcome first = search(sources, "-o s --write best");
  ASSERT_EQ(first.status, 0) << first.output;
  EXPECT_THAT(first.output, AllOf(HasSubstr("maximize doodles: a = 1"), HasSubstr("best: "), Not(HasSubstr("next: "))));
  EXPECT_EQ(shell("cd s; ls").output, "curve.png\ncurve.svg\nresult.json\ntrials.jsonl\n");
  EXPECT_EQ(run("diff best ft").status, 0);
  EXPECT_EQ(search(sources, "--write best").status, 2);
  const Outcome again = search(sources, "-o s --write best --force");
  EXPECT_EQ(again.status, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("3 of the points were known"));
  // The command that is printed makes the same.
  const std::string printed = search(sources, "").output;
  const size_t at = printed.find("next: taskvec ");
  ASSERT_NE(at, std::string::npos) << printed;
  std::string command = printed.substr(at + 14, printed.find('\n', at) - at - 14);
  ASSERT_EQ(command.substr(command.size() - 5), "MODEL");
  EXPECT_EQ(run(command).status, 0) << command;
  EXPECT_EQ(run("diff best MODEL").status, 0);
}

TEST_F(Searches, BaseIsOneModelWhateverTheOrder) {
  const std::string constraint = "--subject-to 'doodles >= 1*base' --json";
  const auto result = [](const Outcome& outcome) { return outcome.output.substr(outcome.output.find("\"result\"")); };
  const Outcome one = search("-s pt=pocket-clip -s ft=ft", constraint), other = search("-s ft=ft -s pt=pocket-clip", constraint);
  EXPECT_EQ(one.status, 0) << one.output;
  EXPECT_THAT(one.output,
              AllOf(HasSubstr("base is the source 'pt'"), HasSubstr("\"base\": \"pt\""), HasSubstr("\"mode\": \"standard\"")));
  EXPECT_THAT(other.output, HasSubstr("base is the source 'pt'"));
  EXPECT_EQ(result(one).substr(0, result(one).find("samples_per_second")),
            result(other).substr(0, result(other).find("samples_per_second")));
  EXPECT_THAT(search("-s pt=pocket-clip -s ft=ft -s base=ft", constraint).output, HasSubstr("base is the source 'base'"));
  EXPECT_THAT(search("-s pt=pocket-clip -s ft=ft", constraint + " --base ft").output, HasSubstr("base is the source 'ft'"));
}

TEST_F(Searches, GoalsAndLimitsThatCannotBeMeant) {
  const std::string sources = "-s pt=pocket-clip -s ft=ft";
  EXPECT_THAT(search(sources, "--minimize doodles").output, HasSubstr("a search has one"));
  const Outcome percent = search(sources, "--subject-to 'doodles >= 95'");
  EXPECT_EQ(percent.status, 2);
  EXPECT_THAT(percent.output, HasSubstr("write doodles >= 0.95"));
}

TEST_F(Searches, SayHowTheModelWasMeant) {
  const std::string sources = "-s pt=pocket-clip -s ft=ft --mode posthoc";
  EXPECT_THAT(search(sources, "--write m").output, HasSubstr("--mode posthoc --origin "));
  EXPECT_THAT(run("search 'pt + $a*(ft - pt)' " + sources + " --solve -t doodles.yaml").output,
              HasSubstr("on the test split, evaluated as a network linearised at "));
}

TEST_F(Searches, SeeBeforeTheyBeginThatTheModelCannotBeWritten) {
  const std::string sources = "-s pt=pocket-clip -s ft=ft";
  for (const auto& [output, why] :
       {std::pair("m.pt", ".pt"), std::pair("m.npy", "one array"), std::pair("no/sub/m", "there is no folder no/sub"),
        std::pair("s -o s", "a folder of its own")}) {
    const Outcome refused = search(sources, std::string("--write ") + output);
    EXPECT_NE(refused.status, 0) << output;
    EXPECT_THAT(refused.output, AllOf(HasSubstr(why), Not(HasSubstr("searching 3 points")))) << output;
  }
  EXPECT_EQ(shell("ls -d s 2>/dev/null").output, "");
}

TEST_F(Searches, AFineTunedModelIsLinearisedAtItsOrigin) {
  const std::string common = " -t doodles.yaml --mode posthoc --json";
  const auto accuracy = [](const Outcome& outcome) {
    const size_t at = outcome.output.find("\"accuracy\": ");
    return at == std::string::npos ? outcome.output : outcome.output.substr(at, outcome.output.find(',', at) - at);
  };
  const Outcome alone = run("eval -m ft" + common), sum = run("eval -m 'pt + (ft - pt)' -s pt=pocket-clip -s ft=ft" + common),
                named = run("eval -m ft --origin pocket-clip" + common);
  EXPECT_EQ(alone.status, 0) << alone.output;
  EXPECT_THAT(alone.output, HasSubstr("pocket-clip"));
  EXPECT_EQ(accuracy(alone), accuracy(sum));
  EXPECT_EQ(accuracy(alone), accuracy(named));
}

// What a message tells people to give, the command that printed it takes.
TEST_F(Searches, TakeTheOptionsThatTheirMessagesName) {
  std::ofstream(folder_ / "add.py")
      << "import json, struct\n"
         "b = open('ft/model.safetensors', 'rb').read()\n"
         "n, = struct.unpack('<Q', b[:8])\n"
         "header, end = json.loads(b[8:8 + n]), len(b) - 8 - n\n"
         "header['extra'] = {'dtype': 'F32', 'shape': [1], 'data_offsets': [end, end + 4]}\n"
         "text = json.dumps(header).encode()\n"
         "open('ft/model.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + b[8 + n:] + bytes(4))\n";
  ASSERT_EQ(shell("python3 add.py").status, 0);
  const std::string sources = "-s pt=pocket-clip -s ft=ft", one = "eval -m 'pt + 0.5*(ft - pt)' -t doodles.yaml " + sources;
  for (const Outcome& refused : {search(sources, ""), run(one)}) {
    EXPECT_EQ(refused.status, 2);
    EXPECT_THAT(refused.output, HasSubstr("tensor 'extra' is in ft (ft) but not in pt"));
    EXPECT_THAT(refused.output, HasSubstr("--allow-missing"));
  }
  EXPECT_EQ(run(one + " --allow-missing").status, 0);
  const Outcome found = search(sources, "--allow-missing --write best");
  EXPECT_EQ(found.status, 0) << found.output;
  EXPECT_THAT(search(sources, "--allow-missing").output, HasSubstr("--set a=1 --allow-missing -o MODEL"));
}

}  // namespace
}  // namespace taskvec
