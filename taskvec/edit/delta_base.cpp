#include "taskvec/edit/delta_base.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/delta/delta.h"

#include <algorithm>

namespace taskvec::edit {

void check_delta_bases(const Plan& plan, const std::function<std::string(size_t source)>& fingerprint) {
  if (plan.options.any_base) return;
  std::vector<size_t> models;
  for (size_t s = 0; s < plan.sources.size(); ++s)
    if (!plan.sources[s]->manifest().delta) models.push_back(s);
  if (models.empty()) return;
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const auto delta = formats::delta_info(*plan.sources[s]);
    if (!delta) continue;
    if (std::any_of(models.begin(), models.end(), [&](size_t m) { return fingerprint(m) == delta->base.fingerprint; })) continue;
    fail(ErrorCode::InvalidArgument,
         "task vector '{}' ({}) was made from a base with fingerprint {} ({}), but source '{}' ({}) has {}; --any-base adds it "
         "all "
         "the same",
         plan.source_names[s], plan.sources[s]->path().string(), delta->base.fingerprint, delta->base.path,
         plan.source_names[plan.base], plan.sources[plan.base]->path().string(), fingerprint(plan.base));
  }
}

}  // namespace taskvec::edit
