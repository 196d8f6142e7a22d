#pragma once

#include "taskvec/edit/plan.h"

#include <nlohmann/json.hpp>

namespace taskvec::edit {

inline constexpr const char* kSourcesKey = "taskvec.sources";
inline constexpr const char* kAsLoraKey = "taskvec.as_lora";  ///< in adapters that write_as_lora() wrote

/// The metadata of a written checkpoint: what the base's says (transformers wants `format`), and how it was made:
/// taskvec.expression, taskvec.coefficients, taskvec.sources (name, path, fingerprint, name map), taskvec.base, taskvec.options
/// and taskvec.version.
/// @param fingerprints  of the plan's sources, in their order
std::map<std::string, std::string> provenance(const Plan& plan, const std::vector<std::string>& fingerprints);

/// What the result of an edit depends on, where coefficients without a value are given later: {"expression", "coefficients",
/// "sources": {name: {"fingerprint", "map"}}, "base", "options"}. Takes a pass over the sources whose fingerprint is not known
/// yet.
nlohmann::json identity(const Plan& plan);

/// An edit as a checkpoint's metadata tells it.
struct Recorded {
  struct Source {
    std::string name, path, fingerprint, map;  ///< map: of its names, "" where there was none
  };
  std::string expression;
  std::vector<Source> sources;
  PlanOptions options;
};

/// @throws Error{Format} naming the file and what is missing, when a checkpoint does not say how it was made
Recorded read_provenance(const formats::Checkpoint& checkpoint);

/// Replays the edit that made a checkpoint, from its metadata, and compares bytes in constant memory.
/// @param overrides  sources that have moved: name -> checkpoint; others are looked for at the recorded path, from the working
/// folder
///                   and from the checkpoint's own
/// @return           names of the tensors that come out differently; empty when the checkpoint is reproduced
/// @throws Error{Format} when the checkpoint does not say how it was made, Error{NotFound} for a source that is gone,
/// Error{InvalidArgument} for one whose fingerprint is another
std::vector<std::string> reproduce(const formats::Checkpoint& checkpoint, const Bindings& overrides);

}  // namespace taskvec::edit
