// A trials.jsonl. One that is refused is left as it was.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/search/trial_log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto path = folder.write("trials.jsonl", bytes);
  return fuzz::expect_only_errors([&] {
    try {
      search::TrialLog log(path, {{"k", 1}}, {{"a", {0, 1}}});
      log.append({{0.5}, {{"m", 0.25}}, 0, 0, 1});
      const search::TrialLog again(path, {{"k", 1}}, {{"a", {0, 1}}});
      if (again.find({0.5}) == nullptr) std::abort();
    } catch (const Error&) {
      // Half a line of ours at the end may be gone; nothing else.
      if (!bytes.starts_with(folder.read("trials.jsonl"))) std::abort();
      throw;
    }
  });
}
