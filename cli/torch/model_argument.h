#pragma once

#include "cli/common.h"
#include "taskvec/data/task.h"
#include "taskvec/eval/evaluate.h"
#include "taskvec/eval/mode.h"

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>

namespace taskvec::cli {

/// A model as the command line gives it: a folder, or with sources an expression over them that is never written to disk.
eval::EditedClip open_model(const std::string& text, const std::vector<std::string>& sources,
                            const std::vector<std::string>& coefficients, const std::string& device,
                            const SourceOptions& bring = {});

std::vector<data::Task> load_tasks(const std::vector<std::string>& names);

void add_split_option(CLI::App& command, std::string& split);
/// --limit, --batch and --precision: of a pass over samples.
void add_pass_options(CLI::App& command, eval::EvalOptions& options);
void add_device_option(CLI::App& command, std::string& device);
/// --precision: what networks compute in.
void add_precision_option(CLI::App& command, bridge::Precision& precision);

/// --mode and --origin: how a model is evaluated (eval/mode.h).
void add_mode_options(CLI::App& command, std::string& mode, std::string& origin);

/// What --cache is without being given, in bytes.
inline constexpr uint64_t kSweepCache = 2'000'000'000;
/// --cache: how many bytes of what passes in the tangent space compute are kept on disk (eval/sweep_cache.h); 0: none.
void add_cache_option(CLI::App& command, uint64_t& budget);
void keep_sweeps(eval::Evaluator& evaluator, uint64_t budget);

/// How a model was evaluated, for tables and records.
struct Meaning {
  std::string mode;    ///< "standard" or "linear"
  std::string origin;  ///< path of θ0 where linear
  bridge::Precision precision = bridge::Precision::Float32;

  /// {"mode": .., "origin": .., "precision": ..}, and the split
  nlohmann::ordered_json about(std::string_view split) const;
  /// "as an ordinary network", "as a network linearised at PATH, in bf16"
  std::string text() const;
};

/// Linearises the evaluator where --mode says so, or the sources were trained so, and says on stderr what was chosen and what was
/// done to bring the sources together.
Meaning choose_mode(eval::Evaluator& evaluator, const eval::EditedClip& model, const std::string& mode,
                    const std::string& origin);

/// "train", "val" or "test". @throws Error{InvalidArgument} for anything else
data::Split parse_split(const std::string& text);

}  // namespace taskvec::cli
