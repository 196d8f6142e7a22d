// A tar file of samples, plain or gzipped.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/core/console.h"
#include "taskvec/data/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  set_quiet(true);
  folder.write("a.tar", {reinterpret_cast<const char*>(data), size});
  folder.write("t.yaml", "source: {webdataset: {train: a.tar, test: a.tar}}\nclasses: [a, b]\n");
  return fuzz::expect_only_errors([&] {
    const auto samples = data::open_dataset(data::load_task((folder.path() / "t.yaml").string()), data::Split::Test);
    for (int64_t i = 0; i < std::min<int64_t>(samples->size(), 4); ++i) samples->image(i);
  });
}
