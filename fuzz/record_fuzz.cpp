// A run.json, a NUL, and a metrics.jsonl.
#include "fuzz/fields.h"
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/report/run_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  fuzz::Fields fields(data, size);
  folder.write("run.json", fields.next());
  const auto lines = folder.write("metrics.jsonl", fields.rest());
  fuzz::expect_only_errors([&] { report::read_run(folder.path()); });
  return fuzz::expect_only_errors([&] {
    const size_t before = report::read_json_lines(lines).size();
    report::JsonLines(lines).append({{"step", 1}});
    if (report::read_json_lines(lines).size() != before + 1) std::abort();
  });
}
