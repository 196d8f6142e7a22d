// Two bytes that say how long the file of images is, that file, and one of labels.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/data/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t images = std::min<size_t>(data[0] * 256U + data[1], bytes.size());
  folder.write("i", bytes.substr(0, images));
  folder.write("l", bytes.substr(images));
  folder.write("t.yaml", "source: {idx: {folder: ., train: [i, l], test: [i, l]}}\nclasses: [a, b]\n");
  return fuzz::expect_only_errors([&] {
    const auto samples = data::open_dataset(data::load_task((folder.path() / "t.yaml").string()), data::Split::Test);
    for (int64_t i = 0; i < std::min<int64_t>(samples->size(), 4); ++i) samples->image(i);
  });
}
