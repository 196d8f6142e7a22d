#include "fuzz/fuzz.h"
#include "taskvec/formats/numpy/numpy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  const fuzz::MemoryFile memory(data, size);
  return fuzz::expect_only_errors([&] {
    const auto file = MappedFile::open(memory.path());
    if (!formats::is_zip(file->bytes())) return fuzz::read_tensors(*formats::open_npy(memory.path(), file));
    if (formats::is_npz(formats::read_zip_directory(*file))) fuzz::read_tensors(*formats::open_npz(memory.path(), file));
  });
}
