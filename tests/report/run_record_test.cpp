#include "taskvec/report/run_record.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/version.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace taskvec::report {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RunRecord : public testing::Test {
 protected:
  RunRecord() {
    std::string name = fs::temp_directory_path() / "taskvec-report-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~RunRecord() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_F(RunRecord, ComesBackWithVersionAndTime) {
  EXPECT_TRUE(read_run(folder_ / "run").is_null());
  write_run(folder_ / "run", {{"command", "search"}, {"name", "not UTF-8: \xFF"}});
  const auto record = read_run(folder_ / "run");
  EXPECT_EQ(record.at("command"), "search");
  EXPECT_EQ(record.at("name"), "not UTF-8: \xEF\xBF\xBD");
  EXPECT_EQ(record.at("taskvec"), version());
  EXPECT_THAT(record.at("written").get<std::string>(), testing::MatchesRegex("20..-..-..T..:..:..Z"));
}

TEST_F(RunRecord, DamagedRecordIsNamed) {
  write_file_atomically(folder_ / "run.json", "{\"command\": ");
  EXPECT_THAT(message_of([&] { read_run(folder_); }), HasSubstr((folder_ / "run.json").string() + ": not a record of a run: "));
}

TEST_F(RunRecord, LinesSurviveAKill) {
  const fs::path path = folder_ / "metrics.jsonl";
  EXPECT_TRUE(read_json_lines(path).empty());
  JsonLines(path).append({{"step", 1}});
  write_file_atomically(path, read_file(path) + "{\"step\": 2, \"lo");  // half a line
  EXPECT_EQ(read_json_lines(path).size(), 1U);
  JsonLines(path).append({{"step", 2}});
  EXPECT_EQ(read_file(path), "{\"step\":1}\n{\"step\":2}\n");
  EXPECT_EQ(read_json_lines(path).back().at("step"), 2);
}

TEST_F(RunRecord, LineErrors) {
  const fs::path path = folder_ / "metrics.jsonl";
  write_file_atomically(path, "{}\nx\n");
  EXPECT_THAT(message_of([&] { read_json_lines(path); }), HasSubstr(path.string() + ": line 2 is no JSON object"));
  EXPECT_THAT(message_of([&] { JsonLines(folder_ / "none" / "x.jsonl"); }),
              HasSubstr((folder_ / "none" / "x.jsonl").string() + ": cannot be opened for writing: No such file or directory"));
  EXPECT_THAT(message_of([&] { write_run(path, {}); }), HasSubstr(path.string()));
}

}  // namespace
}  // namespace taskvec::report
