#include "taskvec/edit/sources/match_sources.h"

#include "taskvec/core/error.h"
#include "taskvec/edit/sources/align.h"
#include "taskvec/edit/sources/model_config.h"
#include "taskvec/formats/quantised/quantised.h"
#include "taskvec/formats/renamed.h"

#include <algorithm>
#include <map>

namespace taskvec::edit {
namespace {

using formats::TensorEntry;

class Matcher {
 public:
  Matcher(std::vector<std::shared_ptr<const formats::Checkpoint>> sources, const std::vector<std::string>& names, size_t base,
          Vocabulary vocabulary)
      : matched_{std::move(sources), {}, {}, false}, names_(names), base_(base), vocabulary_(vocabulary) {}

  Matched make() && {
    match();
    return std::move(matched_);
  }

 private:
  const formats::Manifest& manifest(size_t source) const { return matched_.sources[source]->manifest(); }

  /// All sources under the base's names and shapes, as far as that is unambiguous.
  void match() {
    const auto base = matched_.sources[base_];
    for (size_t s = 0; s < matched_.sources.size(); ++s) {
      if (s == base_) continue;
      Aligned aligned = align_names(matched_.sources[s], *base, names_[s]);
      matched_.sources[s] = std::move(aligned.checkpoint);
      for (std::string& note : aligned.notes) matched_.notes.push_back(std::move(note));
    }
    for (size_t s = 0; s < matched_.sources.size(); ++s)
      if (s != base_ && !manifest(s).delta && !manifest(base_).delta) check_related(s);
    match_output_layers();
    for (std::string& note : match_vocabulary(matched_.sources, base_, vocabulary_)) matched_.notes.push_back(std::move(note));
  }

  /// @throws Error{InvalidArgument} where a source and the base are two architectures
  void check_related(size_t s) {
    const auto &base = manifest(base_).tensors, &tensors = manifest(s).tensors;
    size_t shared = 0, floats = 0;
    for (const TensorEntry& entry : tensors) {
      if (is_constant_buffer(entry)) continue;
      const TensorEntry* other = manifest(base_).find(entry.name);
      ++floats;
      shared += other != nullptr ? 1 : 0;
    }
    if (floats == 0 || base.empty()) return;
    if (shared == 0)
      fail(ErrorCode::InvalidArgument, "{} and {} share no tensor: {}", names_[base_], names_[s],
           names_differ(*matched_.sources[base_], *matched_.sources[s]));
    const std::string ours = model_config(*matched_.sources[base_]).model_type,
                      theirs = model_config(*matched_.sources[s]).model_type;
    if (ours.empty() || theirs.empty() || ours == theirs) return;
    const size_t smaller = std::min(floats, base.size());
    if (shared < smaller)
      fail(ErrorCode::InvalidArgument,
           "{} is a {} and {} is a {} (model_type in config.json), and they share {} of {} tensors: two architectures do not add "
           "up",
           names_[base_], ours, names_[s], theirs, shared, smaller);
    matched_.warnings.push_back(
        fmt::format("{} is a {} and {} is a {} (model_type in config.json)", names_[base_], ours, names_[s], theirs));
  }

  /// An output layer that a config ties to the embedding is the embedding, in the models that do not hold it by itself.
  void match_output_layers() {
    const bool base_ties = model_config(*matched_.sources[base_]).tied.value_or(false);
    // First: what a tied model holds twice, and the base does not.
    for (size_t s = 0; s < matched_.sources.size(); ++s) {
      if (s == base_ || manifest(s).delta || !base_ties || !model_config(*matched_.sources[s]).tied.value_or(false)) continue;
      std::vector<std::pair<std::string, const TensorEntry*>> kept;
      for (const TensorEntry& entry : manifest(s).tensors)
        if (!is_output_layer(entry.name) || manifest(base_).find(entry.name) != nullptr) kept.emplace_back(entry.name, &entry);
      if (kept.size() == manifest(s).tensors.size()) continue;
      matched_.notes.push_back(fmt::format("the output layer of {} is left out: both models tie it to the embedding", names_[s]));
      matched_.sources[s] = formats::renamed(matched_.sources[s], kept);
    }
    std::map<std::string, TensorEntry> heads;
    for (const auto& source : matched_.sources)
      for (const TensorEntry& entry : source->manifest().tensors)
        if (!source->manifest().delta && is_output_layer(entry.name)) heads.emplace(entry.name, entry);
    for (const auto& [name, head] : heads) {
      for (size_t s = 0; s < matched_.sources.size(); ++s) {
        if (manifest(s).delta) continue;
        const TensorEntry* embedding = tied_embedding(*matched_.sources[s], head);
        if (embedding == nullptr) continue;
        matched_.notes.push_back(
            fmt::format("'{}' of {} is its '{}', to which its config.json ties it", name, names_[s], embedding->name));
        std::vector<std::pair<std::string, const TensorEntry*>> tensors;
        for (const TensorEntry& entry : manifest(s).tensors) tensors.emplace_back(entry.name, &entry);
        tensors.emplace_back(name, embedding);
        matched_.unties |= s == base_;
        matched_.sources[s] = formats::renamed(matched_.sources[s], tensors);
      }
    }
  }

  Matched matched_;
  const std::vector<std::string>& names_;
  size_t base_;
  Vocabulary vocabulary_;
};

}  // namespace

Matched match_sources(std::vector<std::shared_ptr<const formats::Checkpoint>> sources, const std::vector<std::string>& names,
                      size_t base, Vocabulary vocabulary) {
  if (sources.size() > 1)  // one alone may be a copy
    for (size_t s = 0; s < sources.size(); ++s) formats::check_plain(*sources[s], names[s]);
  return Matcher(std::move(sources), names, base, vocabulary).make();
}

}  // namespace taskvec::edit
