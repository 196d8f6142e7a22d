// A tokenizer.json, a tokenizer_config.json, and a text, each up to a NUL.
#include "fuzz/fields.h"
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/text/clip_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  fuzz::Fields fields(data, size);
  folder.write("tokenizer.json", fields.next());
  folder.write("tokenizer_config.json", fields.next());
  return fuzz::expect_only_errors([&] { text::ClipTokenizer::open(folder.path()).encode(fields.rest(), 77); });
}
