#include "fuzz/fuzz.h"
#include "taskvec/formats/pytorch/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  return fuzz::expect_only_errors([&] { formats::read_pickle(std::as_bytes(std::span(data, size)), "fuzz"); });
}
