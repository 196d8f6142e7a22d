#include "fuzz/fuzz.h"
#include "taskvec/formats/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  const fuzz::MemoryFile memory(data, size);
  return fuzz::expect_only_errors([&] {
    const auto file = MappedFile::open(memory.path());
    for (const auto& entry : formats::read_zip_directory(*file))
      entry.deflated ? void(formats::inflate(*file, entry)) : void(formats::crc_matches(*file, entry));
  });
}
