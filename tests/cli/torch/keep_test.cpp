// What commands leave alone, and how they end when they are asked to.
#include "tests/cli/program.h"
#include "tests/cli/torch/tiny_task.h"

#include <gmock/gmock.h>

#include <csignal>
#include <fstream>

namespace taskvec {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing_cli::Outcome;

class Keep : public testing_cli::Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    testing_cli::write_tiny_task(folder_);
    // A shell lets its background jobs ignore Ctrl-C.
    std::ofstream(folder_ / "stop.py")
        << "import os, subprocess, sys, time\n"
           "process = subprocess.Popen([os.environ['TASKVEC'], *sys.argv[3:]], stderr=subprocess.STDOUT)\n"
           "while process.poll() is None and not (os.path.exists(sys.argv[2]) and "
           "os.path.getsize(sys.argv[2])): time.sleep(0.02)\n"
           "process.send_signal(int(sys.argv[1]))\n"
           "sys.exit(process.wait())\n";
  }
  /// A training run that gets a signal as soon as it has logged a step.
  Outcome stopped(int signal, const std::string& log, const std::string& more) const {
    return shell("python3 stop.py " + std::to_string(signal) + " " + log +
                 " finetune -m pocket-clip -t t.yaml --warmup 1 --batch 8 --threads 1 " + more + " 2>&1");
  }
  Outcome finetune(const std::string& more) const {
    return run("finetune -m pocket-clip -t t.yaml --warmup 1 --batch 8 --threads 1 " + more);
  }
  std::string fingerprint(const std::string& model) const {
    return shell("$TASKVEC verify " + model + " | grep fingerprint").output;
  }
};

TEST_F(Keep, AFinishedRunStaysUntilTheNewOneIsWhole) {
  ASSERT_EQ(finetune("-o ft --steps 4 --save-steps 2 -q").status, 0);
  const std::string old = fingerprint("ft");
  ASSERT_FALSE(old.empty());
  // From its own checkpoint into itself: refused, and nothing is lost.
  const Outcome own = run("finetune -m ft/checkpoints/step-000002 -t t.yaml -o ft --steps 4 --warmup 1 --batch 8 --force");
  EXPECT_EQ(own.status, 2) << own.output;
  EXPECT_EQ(fingerprint("ft"), old);
  // Stopped on the way: the old model stands, the new run goes on where it was.
  const Outcome killed = stopped(SIGINT, "ft/next/metrics.jsonl", "-o ft --steps 100000 --force -q");
  EXPECT_EQ(killed.status, 130);
  EXPECT_THAT(killed.output,
              AllOf(HasSubstr("stopped at step "), HasSubstr("the same command without --force goes on from there")));
  EXPECT_EQ(fingerprint("ft"), old);
  EXPECT_EQ(shell("ls ft/next/resume.safetensors").status, 0);
  // Anew, and this time to the end: now it has taken the place.
  const Outcome again = finetune("-o ft --steps 5 --force -q");
  ASSERT_EQ(again.status, 0) << again.output;
  EXPECT_NE(fingerprint("ft"), old);
  EXPECT_EQ(shell("ls ft/next ft/checkpoints 2>/dev/null").output, "ft/checkpoints:\nstep-000002\nstep-000004\n");
  EXPECT_THAT(finetune("-o ft --steps 5").output, HasSubstr("done already (5 steps"));
}

TEST_F(Keep, AStoppedRunGoesOnToTheSameModel) {
  ASSERT_EQ(finetune("-o whole --steps 300 -q").status, 0);
  ASSERT_EQ(stopped(SIGTERM, "ft/metrics.jsonl", "-o ft --steps 300 -q").status, 143);
  const Outcome on = finetune("-o ft --steps 300");
  ASSERT_EQ(on.status, 0) << on.output;
  EXPECT_THAT(on.output, HasSubstr("ft: going on behind step"));
  EXPECT_EQ(fingerprint("ft/model.safetensors"), fingerprint("whole/model.safetensors"));
}

TEST_F(Keep, LogsOfOthersAreNoLogs) {
  const std::string search =
      "search 'base-$a*(ft-base)' -s base=pocket-clip -s ft=pocket-clip --grid a=0 --minimize t.yaml --json -o ";
  ASSERT_EQ(
      shell("mkdir s s2; printf 'my notes in one line' > s2/trials.jsonl; printf '{\"precious\": 1}' > victim; ln -s ../victim "
            "s/trials.jsonl")
          .status,
      0);
  EXPECT_EQ(run(search + "s").status, 1);
  EXPECT_EQ(run(search + "s2").status, 2);
  EXPECT_EQ(shell("cat victim s2/trials.jsonl").output, "{\"precious\": 1}my notes in one line");
}

TEST_F(Keep, ResultsReplaceOnlyResults) {
  const std::string command = "ntk -m pocket-clip -t t.yaml --samples 4 --outputs 1 -o ";
  ASSERT_EQ(run(command + "k").status, 0);
  EXPECT_EQ(run(command + "k").status, 2);
  EXPECT_EQ(run(command + "k --force").status, 0);
  ASSERT_EQ(shell("mkdir other; echo '{}' > other/ntk.json; mkdir pictures; echo mine > pictures/eigenvalues.png").status, 0);
  EXPECT_EQ(run(command + "other --force").status, 2);
  EXPECT_EQ(run(command + "pictures --force").status, 2);
  EXPECT_EQ(shell("cat other/ntk.json pictures/eigenvalues.png").output, "{}\nmine\n");
  // Beside results of ours, too.
  ASSERT_EQ(shell("echo mine > k/local-energy.svg").status, 0);
  EXPECT_EQ(run(command + "k --force").status, 2);
  EXPECT_EQ(shell("cat k/local-energy.svg").output, "mine\n");
  EXPECT_EQ(shell("cp -r $(dirname $TASKVEC)/../../assets/pocket-clip m && $TASKVEC " + command + "m --force 2>&1").status, 2);
}

TEST_F(Keep, PredictionsReplaceOnlyPredictions) {
  const std::string command = "eval -m pocket-clip -t t.yaml --predictions p.jsonl --force";
  ASSERT_EQ(run(command).status, 0);
  ASSERT_EQ(run(command).status, 0);
  ASSERT_EQ(shell("echo 'my notes' >> p.jsonl; cp p.jsonl before").status, 0);
  const Outcome refused = run(command);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.output, HasSubstr("something else is there"));
  EXPECT_EQ(shell("cmp p.jsonl before").status, 0);
}

TEST_F(Keep, SnapshotsAreChecked) {
  ASSERT_EQ(stopped(SIGINT, "ft/metrics.jsonl", "-o ft --steps 100000 -q").status, 130);
  shell("cp -r ft ft0");
  const auto spoiled = [&](const std::string& python) {
    return shell(
               "rm -rf ft; cp -r ft0 ft; python3 -c \"import json,struct; p='ft/resume.safetensors'; "
               "d=bytearray(open(p,'rb').read()); "
               "n=struct.unpack('<Q',d[:8])[0]; h=json.loads(d[8:8+n]); " +
               python +
               "; j=json.dumps(h).encode(); j+=b' '*(-len(j)%8); open(p,'wb').write(struct.pack('<Q',len(j))+j+d[8+n:])\"; "
               "$TASKVEC "
               "finetune -m pocket-clip -t t.yaml --warmup 1 --batch 8 --threads 1 -o ft --steps 100000 -q 2>&1; echo status $?")
        .output;
  };
  for (const char* step : {"", "9223372036854775808", "0", "-3", "100001", "4x"})
    EXPECT_THAT(spoiled("h['__metadata__']['step']='" + std::string(step) + "'"),
                AllOf(HasSubstr("no valid 'step'"), HasSubstr("status 2")))
        << step;
  EXPECT_THAT(spoiled("d[-1]^=64"), AllOf(HasSubstr("it is damaged"), HasSubstr("status 2")));
  EXPECT_THAT(spoiled("h['__metadata__'].pop('taskvec.digest'); k=[k for k in h if k.startswith('adamw.first')][0]; "
                      "h[k]['shape']=h[k]['shape']+[1]"),
              AllOf(HasSubstr("no snapshot of this run"), HasSubstr("status 2")));
  shell("rm -rf ft; cp -r ft0 ft; echo '{\"step\": \"x\"}' >> ft/metrics.jsonl");
  EXPECT_THAT(finetune("-o ft --steps 100000").output, HasSubstr("is no step of a run"));
  shell("rm -rf ft; cp -r ft0 ft; sed -i 's/\"batch\": 8/\"batch\": [[[[[[[[[[[[[[[[[[[[8]]]]]]]]]]]]]]]]]]]]/' ft/run.json");
  EXPECT_THAT(finetune("-o ft --steps 100000").output, HasSubstr("not a record of a run"));
}

TEST_F(Keep, TheInstalledProgramFindsLibtorchAndItsAssets) {
  const std::string build = std::filesystem::path(TASKVEC_PROGRAM).parent_path().string();
  ASSERT_EQ(shell("cmake --install " + build + " --prefix installed > log 2>&1").status, 0) << shell("cat log").output;
  const Outcome here = shell("env -u TASKVEC_ASSETS installed/bin/taskvec eval -m pocket-clip -t t.yaml --json 2>&1");
  EXPECT_EQ(here.status, 0) << here.output;
  EXPECT_THAT(here.output, HasSubstr("\"n\": 64"));
}

}  // namespace
}  // namespace taskvec
