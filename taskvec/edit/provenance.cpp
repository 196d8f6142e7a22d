#include "taskvec/edit/provenance.h"

#include "taskvec/core/version.h"

#include <nlohmann/json.hpp>

namespace taskvec::edit {

std::map<std::string, std::string> provenance(const Plan& plan) {
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const auto& source = *plan.sources[s];
    sources.push_back({{"name", plan.source_names[s]}, {"path", source.path().string()}, {"fingerprint", source.fingerprint()}});
  }
  std::map<std::string, std::string> metadata = plan.sources[plan.base]->manifest().metadata;
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("taskvec."); });
  metadata["taskvec.expression"] = plan.expression;
  metadata["taskvec.coefficients"] = nlohmann::json(plan.coefficients).dump();
  metadata["taskvec.sources"] = sources.dump();
  metadata["taskvec.base"] = plan.source_names[plan.base];
  metadata["taskvec.version"] = std::string(version());
  return metadata;
}

}  // namespace taskvec::edit
