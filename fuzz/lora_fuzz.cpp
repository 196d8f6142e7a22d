// The text of an adapter_config.json, a NUL, and the bytes of an adapter_model.safetensors.
#include "fuzz/fields.h"
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/formats/lora/lora.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  fuzz::Fields fields(data, size);
  folder.write("adapter_config.json", fields.next());
  folder.write("adapter_model.safetensors", fields.rest());
  return fuzz::expect_only_errors([&] { fuzz::read_tensors(*formats::open_lora(folder.path())); });
}
