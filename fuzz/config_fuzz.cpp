// A config.json, beside weights that are read and rewritten.
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"
#include "taskvec/core/bounded_json.h"
#include "taskvec/edit/sources/model_config.h"
#include "taskvec/formats/config_update.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  static const fuzz::Folder folder;
  const std::string text(reinterpret_cast<const char*>(data), size);
  formats::Manifest manifest;
  manifest.sidecars = {folder.write("config.json", text)};
  return fuzz::expect_only_errors([&] {
    edit::model_config(formats::Checkpoint(folder.path(), std::move(manifest), {}));
    const std::string updated =
        formats::updated_config(text, {.dtype = Dtype::BF16, .vocabulary = 7, .untied = true, .plain = true});
    if (updated != text && parse_bounded_json(updated).is_discarded()) std::abort();
  });
}
