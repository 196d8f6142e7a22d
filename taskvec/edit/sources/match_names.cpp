#include "taskvec/edit/sources/match_names.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/names.h"

namespace taskvec::edit {

std::map<std::string, std::string> match_names(const Expr& expr, Bindings& bindings, const std::string& base,
                                               std::string_view map) {
  const formats::Checkpoint* like = nullptr;
  for (const auto& name : expr.sources()) {
    const auto found = bindings.find(name);
    if (found == bindings.end()) continue;  // the planner says so
    const bool chosen = base.empty() ? like == nullptr && !found->second->manifest().delta : name == base;
    if (chosen) like = found->second.get();
  }
  std::map<std::string, std::string> changed;
  if (like == nullptr) return changed;
  for (auto& [name, checkpoint] : bindings) {
    if (checkpoint.get() == like) continue;
    auto mapped = formats::match_names(checkpoint, *like, map);
    if (mapped == checkpoint) continue;
    changed[name] = formats::map_of(*mapped);
    checkpoint = std::move(mapped);
  }
  if (changed.empty() && map != "auto")
    fail(ErrorCode::InvalidArgument, "the map {} makes the names of no source agree better with those of {}", map,
         like->path().string());
  return changed;
}

}  // namespace taskvec::edit
