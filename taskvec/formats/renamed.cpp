#include "taskvec/formats/renamed.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/names.h"

#include <algorithm>
#include <set>

namespace taskvec::formats {

std::shared_ptr<const Checkpoint> renamed(std::shared_ptr<const Checkpoint> checkpoint,
                                          const std::vector<std::pair<std::string, const TensorEntry*>>& tensors) {
  const Manifest& of = checkpoint->manifest();
  Manifest manifest;
  manifest.format = of.format;
  manifest.metadata = of.metadata;
  manifest.native_metadata = of.native_metadata;
  manifest.sidecars = of.sidecars;
  manifest.delta = of.delta;
  manifest.codes = of.codes;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<MappedNames::Origin> origins;
  std::set<std::string_view> seen;
  for (const auto& [name, entry] : tensors) {
    if (!seen.insert(name).second)
      fail(ErrorCode::Format, "{}: two tensors would be called '{}'", checkpoint->path().string(), name);
    TensorEntry renamed = *entry;
    renamed.name = name;
    if (entry->as_is) {
      auto file = checkpoint->tensor(entry->name).file;
      const auto found = std::find(files.begin(), files.end(), file);
      renamed.file = static_cast<int>(found - files.begin());
      if (found == files.end()) {
        manifest.files.push_back(file->path());
        files.push_back(std::move(file));
      }
    } else {
      renamed.file = 0;
    }
    manifest.tensors.push_back(std::move(renamed));
    origins.push_back({{{entry, 0, static_cast<uint64_t>(entry->info.nbytes())}}, MappedNames::Origin::Order::Rows, 1});
  }
  if (files.empty()) manifest.files = of.files;
  std::string map = map_of(*checkpoint);
  return std::make_shared<MappedNames>(std::move(checkpoint), std::move(map), std::move(manifest), std::move(files),
                                       std::move(origins));
}

}  // namespace taskvec::formats
