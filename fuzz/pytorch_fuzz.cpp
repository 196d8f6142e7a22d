#include "fuzz/fuzz.h"
#include "taskvec/formats/pytorch/pytorch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  const fuzz::MemoryFile file(data, size);
  return fuzz::expect_only_errors(
      [&] { fuzz::read_tensors(*formats::open_pytorch(file.path(), MappedFile::open(file.path()), {})); });
}
