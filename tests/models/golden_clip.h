#pragma once

#include "taskvec/bridge/params.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/models/clip.h"
#include "tests/golden.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>

/// Expected outputs that transformers and PyTorch made: $TASKVEC_GOLDEN/models/<case>/, found when the tests run.
namespace taskvec::golden {

namespace fs = std::filesystem;

inline fs::path models_folder() { return folder() / "models"; }

struct Case {
  fs::path folder;
  nlohmann::json meta;
  bridge::Params expected;

  std::string name() const { return folder.filename().string(); }
  bool has_model() const { return fs::exists(folder / "config.json"); }
  /// True where `what` has the case's name as a word of its own ("clip-tiny" is not in "clip-tiny-2").
  bool mentions(const std::string& word) const {
    const std::string what = meta.value("what", "");
    const auto part_of_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; };
    for (size_t at = what.find(word); at != std::string::npos; at = what.find(word, at + 1)) {
      const size_t end = at + word.size();
      if ((at == 0 || !part_of_name(what[at - 1])) && (end == what.size() || !part_of_name(what[end]))) return true;
    }
    return false;
  }
};

/// Every case with a meta.json and expected.safetensors, by name: those of this repository, which tools/make_golden made, and
/// what else there is.
inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const fs::path& root : {fs::path(TASKVEC_SOURCE_DIR) / "tests/golden/models", models_folder()}) {
    if (!fs::is_directory(root)) continue;
    for (const auto& entry : fs::directory_iterator(root)) {
      const fs::path folder = entry.path();
      if (!fs::exists(folder / "meta.json") || !fs::exists(folder / "expected.safetensors")) continue;
      cases.push_back({folder, nlohmann::json::parse(read_file(folder / "meta.json")),
                       bridge::load(*formats::open(folder / "expected.safetensors"))});
    }
  }
  std::sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) { return a.folder < b.folder; });
  return cases;
}

/// The cases that hold all these tensors.
inline std::vector<Case> cases_with(const std::vector<std::string>& tensors) {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [&](const Case& c) {
    return !std::all_of(tensors.begin(), tensors.end(), [&](const std::string& name) { return c.expected.contains(name); });
  });
  return cases;
}

/// Whether `expected`'s tensors called prefix + parameter have the model's shapes.
inline bool shapes_agree(const Case& c, const models::ClipModel& model, const std::string& prefix) {
  return std::all_of(c.expected.begin(), c.expected.end(), [&](const auto& entry) {
    if (!entry.first.starts_with(prefix)) return true;
    const at::Tensor* weight = model.params.find(entry.first.substr(prefix.size()));
    return weight != nullptr && weight->sizes() == entry.second.sizes();
  });
}

/// The case's own model, else the one that its text names, else one whose shapes fit.
inline std::optional<Case> model_of(const Case& wanted, const std::string& prefix) {
  if (wanted.has_model()) return wanted;
  std::vector<Case> candidates = all_cases();
  std::erase_if(candidates, [](const Case& c) { return !c.has_model(); });
  std::stable_partition(candidates.begin(), candidates.end(), [&](const Case& c) { return wanted.mentions(c.name()); });
  for (const Case& c : candidates) {
    if (shapes_agree(wanted, models::open_clip(c.folder), prefix)) return c;
  }
  return std::nullopt;
}

inline double max_abs_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace taskvec::golden
