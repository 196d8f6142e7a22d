#pragma once

#include "taskvec/bridge/precision.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace taskvec::demo {

struct DemoOptions {
  std::filesystem::path model;     ///< a CLIP folder
  std::filesystem::path output;    ///< gets models/, results.json and pictures
  std::string control = "glyphs";  ///< what edits must not hurt
  /// The first is also forgotten; with one alone nothing is added.
  std::vector<std::string> tasks{"mnist", "fashion-mnist", "hebrew", "georgian", "thai"};
  int64_t steps = 300;          ///< of fine-tuning, per task
  int64_t linear_steps = 300;   ///< of fine-tuning in the tangent space, of the task that is forgotten
  int64_t val_limit = 1500;     ///< images a task that coefficients are chosen on
  int64_t test_limit = 10'000;  ///< images a task that figures are of
  double keep = 0.955;          ///< share of the control's accuracy that an edit has to keep, on val
  double patch_keep = 0.98;     ///< likewise, of a patch: what it repairs must not be paid for elsewhere
  uint64_t seed = 0;
  std::string device = "cpu";  ///< "cpu", "cuda", "cuda:1"
  bridge::Precision precision = bridge::Precision::Float32;
};

/// Less of everything, in half a minute: one task, which is forgotten and patched.
DemoOptions quick(DemoOptions options);

/// The whole idea on one machine: fine-tune a CLIP on each task, then negate (in weight space and in the tangent space), add and
/// patch with the task vectors, every coefficient chosen on validation splits and every figure from test splits. Fine-tuned
/// models are kept, so that a run that was stopped goes on.
/// @return what results.json holds
nlohmann::ordered_json run_demo(const DemoOptions& options);

/// The results for people, at most `width` columns wide.
std::string summary(const nlohmann::ordered_json& results, int width = 72);

}  // namespace taskvec::demo
