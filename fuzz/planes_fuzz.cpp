// A chunk of a lossless task vector, behind its checksum: bytes per element, elements, then the zstd frame.
#include "fuzz/fuzz.h"
#include "taskvec/formats/delta/byte_planes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  if (size < 2) return 0;
  const int64_t item = int64_t{1} << (data[0] % 4);
  std::vector<std::byte> out(static_cast<size_t>(item) * data[1]);
  const auto frame = std::as_bytes(std::span(data + 2, size - 2));
  for (const auto& base : {std::vector<std::byte>(), std::vector<std::byte>(out.size(), std::byte{0x55})})
    static_cast<void>(formats::decompress_planes(item, base, frame, out));
  return 0;
}
