#include "taskvec/edit/executors/output.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/folders/replaceable.h"

namespace taskvec::edit {

namespace fs = std::filesystem;

void check_not_a_source(const Plan& plan, const fs::path& output) {
  for (size_t s = 0; s < plan.sources.size(); ++s) formats::check_not_a_source(output, *plan.sources[s], plan.source_names[s]);
}

bool is_lone_safetensors(const fs::path& output) {
  const formats::Output format = formats::output_of(output);
  if (format != formats::Output::Safetensors && format != formats::Output::Folder)
    fail(ErrorCode::InvalidArgument, "{}: this is written as safetensors; choose a path that ends in .safetensors, or a folder",
         output.string());
  return format == formats::Output::Safetensors;
}

}  // namespace taskvec::edit
