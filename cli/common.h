#pragma once

#include "taskvec/core/error.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/expression/expr.h"

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace taskvec::cli {

/// What a command that found a difference ends with: exit code 1 without an error message.
struct Differs {};

/// What a search ends with that found no point to satisfy the constraints: exit code 3.
struct Infeasible {};

/// The one form of --json: {"taskvec": version, "command": .., what identifies the result (`about`), "result": ..} on stdout.
/// @throws Error{Io}
void print_result(std::string_view command, const nlohmann::ordered_json& result, const nlohmann::ordered_json& about = {});

/// The same of a failure: {"taskvec": .., "command": .., "error": {"message": .., "exit_code": ..}}.
void print_error(std::string_view command, const std::string& message, int exit_code);

/// Heading in the help of what means the same in every command.
inline constexpr const char* kCommonOptions = "Common options";

/// -q, --json and --threads for the commands that lack them, so that all have them.
void add_common_options(CLI::App& app);

/// `--vocab common|base|pad`: embeddings of different numbers of tokens.
void add_vocabulary_option(CLI::App& command, edit::Vocabulary& vocabulary);

/// `--seed N`, which CLI11 alone would let wrap around below zero.
void add_seed_option(CLI::App& command, uint64_t& seed, const std::string& what);

/// A model may be named in every way that formats::find_model() knows, besides by its path.
CLI::Option* by_name(CLI::Option* model);

/// Opens `-s name=path` sources, which may be named as by_name() says. @throws Error{InvalidArgument} with an example of the
/// right form
edit::Bindings open_sources(const std::vector<std::string>& texts);

/// How sources that differ are brought together: options of every command that takes an expression.
struct SourceOptions {
  edit::PlanOptions plan;
  std::string map;  ///< a name map or "auto"; "": names stay

  std::string text() const;  ///< as they were given, " --vocab base --any-base", for a command to paste
};
/// `--vocab`, `--allow-missing`, `--allow-differing-integers`, `--any-base` and `--map`
void add_source_options(CLI::App& command, SourceOptions& options);
/// The sources of an expression with their names mapped where that was asked for, which is said.
edit::Bindings open_sources(const std::vector<std::string>& texts, const edit::Expr& expression, const SourceOptions& options);

/// `--set name=number`
edit::CoefficientValues parse_coefficients(const std::vector<std::string>& texts);

/// `--dtype D`, in any case, as safetensors, numpy or others call it. @throws Error{InvalidArgument} naming some
Dtype parse_dtype_option(const std::string& text);

/// @param sources  everything that was given with -s, also what the expression does not use
/// @throws Error{InvalidArgument} when an output may not be written: formats::check_replaceable, check_not_a_source
void check_output(const std::string& output, bool force, const edit::Bindings& sources);

/// Says what an output that is a model's folder does not take along from its base, or takes along although it describes the base.
void note_left_behind(const formats::Checkpoint& base, formats::Output output);

/// What edit::run() did: a line (or JSON) on stdout, and print_warnings().
void print_summary(std::string_view command, const edit::Summary& summary, const std::string& output, bool json,
                   bool saturated = false);

/// On stderr: elements that are not finite, and the first tensors of which some overflowed.
/// @param saturated  the overflowed ones were clamped
void print_warnings(const edit::Summary& summary, bool saturated);

}  // namespace taskvec::cli
