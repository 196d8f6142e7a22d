// A task file.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/data/task.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  const auto file = folder.write("t.yaml", {reinterpret_cast<const char*>(data), size});
  return fuzz::expect_only_errors([&] { data::missing(data::load_task(file.string())); });
}
