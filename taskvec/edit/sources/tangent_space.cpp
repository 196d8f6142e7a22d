#include "taskvec/edit/sources/tangent_space.h"

#include "taskvec/core/error.h"

namespace taskvec::edit {
namespace {

std::string metadata(const formats::Checkpoint& checkpoint, const char* key) {
  const auto& all = checkpoint.manifest().metadata;
  const auto found = all.find(key);
  return found == all.end() ? "" : found->second;
}

}  // namespace

std::string tangent_origin(const formats::Checkpoint& checkpoint) {
  return metadata(checkpoint, kModeKey) == kLinear ? metadata(checkpoint, kOriginKey) : "";
}

std::string tangent_origin(const std::vector<std::shared_ptr<const formats::Checkpoint>>& sources,
                           const std::vector<std::string>& names, Mode mode) {
  if (mode == Mode::Standard) return "";
  std::string origin;
  size_t first = 0;
  for (size_t s = 0; s < sources.size(); ++s) {
    const std::string own = tangent_origin(*sources[s]);
    if (own.empty()) continue;
    if (!origin.empty() && own != origin)
      fail(ErrorCode::InvalidArgument,
           "{} ({}) and {} ({}) were trained in the tangent space of different models ({} and {}); they do not add up in one "
           "linearised network",
           names[first], sources[first]->path().string(), names[s], sources[s]->path().string(), origin, own);
    if (origin.empty()) first = s;
    origin = own;
  }
  if (origin.empty() || mode == Mode::Linear) return origin;
  for (size_t s = 0; s < sources.size(); ++s) {
    if (!tangent_origin(*sources[s]).empty() || sources[s]->fingerprint() == origin) continue;
    fail(ErrorCode::InvalidArgument,
         "{} ({}) was trained in the tangent space and {} ({}) was not, nor is it the model that training started from; say what "
         "their sum is meant as: --mode standard, an ordinary network, or --mode linear, a point of the tangent space",
         names[first], sources[first]->path().string(), names[s], sources[s]->path().string());
  }
  return origin;
}

}  // namespace taskvec::edit
