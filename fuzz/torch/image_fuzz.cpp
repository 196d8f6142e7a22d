// The bytes of a picture of any format.
#include "fuzz/fuzz.h"
#include "taskvec/data/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  return fuzz::expect_only_errors([&] {
    const data::Image image = data::decode_image({reinterpret_cast<const std::byte*>(data), size}, "x");
    if (image.pixels.size() != static_cast<size_t>(image.height * image.width * image.channels)) std::abort();
  });
}
