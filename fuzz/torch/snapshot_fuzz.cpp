// What a killed run goes on from: resume.safetensors, with a length in two bytes before it, and the lines of metrics.jsonl behind
// it.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/train/run_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t snapshot = std::min<size_t>(data[0] * 256U + data[1], bytes.size());
  folder.write("run.json", R"({"asked": {"command": "finetune", "steps": 10}, "state": "running", "about": {}})");
  folder.write("resume.safetensors", bytes.substr(0, snapshot));
  folder.write("metrics.jsonl", bytes.substr(snapshot));
  bridge::Params like;
  like.add("w", at::zeros({2}));
  return fuzz::expect_only_errors([&] {
    train::RunFolder run(folder.path(), {{"command", "finetune"}, {"steps", 10}}, {}, /*force=*/false);
    const auto found = run.resume();
    if (!found) return;
    if (found->step < 1 || found->step > 10) std::abort();
    run.check_snapshot(*found, like);
    if (!found->state.at("w").isfinite().all().item<bool>()) std::abort();
    run.record({{"step", found->step + 1}, {"loss", 1.0}});
    for (const auto& line : run.metrics())
      if (line["step"] > found->step + 1) std::abort();
  });
}
