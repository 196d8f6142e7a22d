// The text of an expression. What parses is printed in a form that parses to the same text.
#include "fuzz/fuzz.h"
#include "taskvec/edit/expression/expr.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  return fuzz::expect_only_errors([&] {
    const std::string printed = edit::to_string(edit::parse({reinterpret_cast<const char*>(data), size}));
    if (edit::to_string(edit::parse(printed)) != printed) std::abort();
  });
}
