// The metadata by which a checkpoint says how it was made: expression, coefficients, sources, options, base, each up to a NUL.
#include "fuzz/fields.h"
#include "fuzz/fuzz.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/sources/tangent_space.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace taskvec;
  fuzz::Fields fields(data, size);
  formats::Manifest manifest;
  for (const char* key : {"expression", "coefficients", "sources", "options", "base", "mode", "finetuned_from"})
    if (const auto value = fields.next(); !value.empty()) manifest.metadata["taskvec." + std::string(key)] = value;
  return fuzz::expect_only_errors([&] {
    const formats::Checkpoint checkpoint("x.safetensors", std::move(manifest), {});
    edit::tangent_origin(checkpoint);
    edit::read_provenance(checkpoint);
  });
}
