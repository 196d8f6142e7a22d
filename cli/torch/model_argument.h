#pragma once

#include "taskvec/data/task.h"
#include "taskvec/eval/evaluate.h"
#include "taskvec/eval/mode.h"

#include <CLI/CLI.hpp>

namespace taskvec::cli {

/// A model as the command line gives it: a folder, or with sources an expression over them that is never written to disk.
eval::EditedClip open_model(const std::string& text, const std::vector<std::string>& sources,
                            const std::vector<std::string>& coefficients, const std::string& device);

std::vector<data::Task> load_tasks(const std::vector<std::string>& names);

void add_split_option(CLI::App& command, std::string& split);
/// --limit and --batch: of a pass over samples.
void add_pass_options(CLI::App& command, eval::EvalOptions& options);
void add_device_option(CLI::App& command, std::string& device);

/// --mode and --origin: how a model is evaluated (eval/mode.h).
void add_mode_options(CLI::App& command, std::string& mode, std::string& origin);

/// What --cache is without being given, in bytes.
inline constexpr uint64_t kSweepCache = 2'000'000'000;
/// --cache: how many bytes of what passes in the tangent space compute are kept on disk (eval/sweep_cache.h); 0: none.
void add_cache_option(CLI::App& command, uint64_t& budget);
void keep_sweeps(eval::Evaluator& evaluator, uint64_t budget);

/// "train", "val" or "test". @throws Error{InvalidArgument} for anything else
data::Split parse_split(const std::string& text);

}  // namespace taskvec::cli
