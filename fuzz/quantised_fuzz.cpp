// A config.json, a NUL, and the bytes of a model.safetensors whose tensors may be codes.
#include "fuzz/fields.h"
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  fuzz::Fields fields(data, size);
  folder.write("config.json", fields.next());
  folder.write("model.safetensors", fields.rest());
  return fuzz::expect_only_errors([&] { fuzz::read_tensors(*formats::open(folder.path())); });
}
