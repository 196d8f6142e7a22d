#pragma once

#include "taskvec/core/error.h"
#include "taskvec/edit/executors/execute.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace taskvec::cli {

/// What a command that found a difference ends with: exit code 1 without an error message.
struct Differs {};

/// What a search ends with that found no point to satisfy the constraints: exit code 3.
struct Infeasible {};

/// Opens `-s name=path` sources. @throws Error{InvalidArgument} with an example of the right form
edit::Bindings open_sources(const std::vector<std::string>& texts);

/// `--set name=number`
edit::CoefficientValues parse_coefficients(const std::vector<std::string>& texts);

/// `--dtype D`. @throws Error{InvalidArgument} naming some
Dtype parse_dtype_option(const std::string& text);

/// @param sources  everything that was given with -s, also what the expression does not use
/// @throws Error{InvalidArgument} when an output may not be written: formats::check_replaceable, check_not_a_source
void check_output(const std::string& output, bool force, const edit::Bindings& sources);

/// What edit::run() did: a line (or JSON) on stdout, and print_warnings().
void print_summary(const edit::Summary& summary, const std::string& output, bool json, bool saturated = false);

/// On stderr: elements that are not finite, and the first tensors of which some overflowed.
/// @param saturated  the overflowed ones were clamped
void print_warnings(const edit::Summary& summary, bool saturated);

/// Adds `--threads N` and applies it.
void add_threads_option(CLI::App& command);

}  // namespace taskvec::cli
