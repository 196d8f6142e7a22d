#include "taskvec/edit/executors/output.h"

#include "taskvec/core/error.h"

#include <algorithm>

namespace taskvec::edit {

namespace fs = std::filesystem;

void check_not_a_source(const Plan& plan, const fs::path& output) {
  std::error_code error;
  const auto same = [&](const fs::path& a, const fs::path& b) { return fs::equivalent(a, b, error); };
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const auto& files = plan.sources[s]->manifest().files;
    const bool replaced =
        same(plan.sources[s]->path(), output) || std::any_of(files.begin(), files.end(), [&](const fs::path& file) {
          return same(file, output) || same(file.has_parent_path() ? file.parent_path() : ".", output);
        });
    if (replaced)
      fail(ErrorCode::InvalidArgument, "output {} would replace source '{}'; write to another path", output.string(),
           plan.source_names[s]);
  }
}

bool is_lone_safetensors(const fs::path& output) {
  const formats::Output format = formats::output_of(output);
  if (format != formats::Output::Safetensors && format != formats::Output::Folder)
    fail(ErrorCode::InvalidArgument, "{}: this is written as safetensors; choose a path that ends in .safetensors, or a folder",
         output.string());
  return format == formats::Output::Safetensors;
}

}  // namespace taskvec::edit
