#pragma once

#include "taskvec/data/task.h"
#include "taskvec/eval/mode.h"

#include <CLI/CLI.hpp>

namespace taskvec::cli {

/// A model as the command line gives it: a folder, or with sources an expression over them that is never written to disk.
eval::EditedClip open_model(const std::string& text, const std::vector<std::string>& sources,
                            const std::vector<std::string>& coefficients, const std::string& device);

std::vector<data::Task> load_tasks(const std::vector<std::string>& names);

/// --mode and --origin: how a model is evaluated (eval/mode.h).
void add_mode_options(CLI::App& command, std::string& mode, std::string& origin);

/// "train", "val" or "test". @throws Error{InvalidArgument} for anything else
data::Split parse_split(const std::string& text);

}  // namespace taskvec::cli
