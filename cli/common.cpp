#include "cli/common.h"

#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/printable.h"
#include "taskvec/core/progress.h"
#include "taskvec/core/version.h"
#include "taskvec/edit/sources/match_names.h"
#include "taskvec/formats/folders/find_model.h"
#include "taskvec/formats/folders/replaceable.h"
#include "taskvec/formats/folders/sidecars.h"

#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <map>

namespace taskvec::cli {
namespace {

constexpr size_t kTensorsShown = 3;

/// "name=value" in two; the value may hold further '='.
std::pair<std::string, std::string> split(const std::string& text, std::string_view option, std::string_view example) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    fail(ErrorCode::InvalidArgument, "{} {}: expected name=value, e.g. {} {}", option, text, option, example);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

nlohmann::ordered_json overflows_json(const edit::Summary& summary) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const auto& [tensor, dtype, count] : summary.overflows)
    json.push_back({{"tensor", tensor}, {"dtype", name(dtype)}, {"count", count}});
  return json;
}

}  // namespace

void print_result(std::string_view command, const nlohmann::ordered_json& result, const nlohmann::ordered_json& about) {
  nlohmann::ordered_json json{{"taskvec", version()}, {"command", command}};
  if (about.is_object()) json.update(about);
  json["result"] = result;
  // Names of files and tensors may be no UTF-8.
  write_output(printable_json(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)) + "\n");
}

void print_error(std::string_view command, const std::string& message, int exit_code) {
  const nlohmann::ordered_json json{
      {"taskvec", version()}, {"command", command}, {"error", {{"message", message}, {"exit_code", exit_code}}}};
  write_output(printable_json(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)) + "\n");
}

void add_common_options(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_option_no_throw("--quiet") == nullptr)
      command->add_flag_callback(
          "-q,--quiet", [] { set_quiet(true); }, "no notes and no progress");
    command->add_option_function<int>(
        "--threads",
        [](int count) {
          if (count < 1) fail(ErrorCode::InvalidArgument, "--threads {}: expected 1 or more", count);
          set_thread_count(count);
        },
        "threads to use (default: all cores)");
    for (const char* shared : {"--device", "--precision", "--threads", "--force", "--json", "--quiet", "--help"})
      if (CLI::Option* option = command->get_option_no_throw(shared)) option->group(kCommonOptions);
    // One value each time: `-s base=PATH EXPR` is not to take the expression for a source.
    for (CLI::Option* option : command->get_options())
      if (!option->get_positional() && option->get_items_expected_max() > 1) option->allow_extra_args(false);
  }
}

void add_vocabulary_option(CLI::App& command, edit::Vocabulary& vocabulary) {
  command
      .add_option_function<std::string>(
          "--vocab", [&vocabulary](const std::string& text) { vocabulary = edit::parse_vocabulary(text); },
          "where sources have different numbers of tokens: common, the rows that all have; base, the base's; pad, the largest's")
      ->type_name("RULE");
}

void add_seed_option(CLI::App& command, uint64_t& seed, const std::string& what) {
  command
      .add_option_function<std::string>(
          "--seed",
          [&seed](const std::string& text) {
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
            if (error != std::errc{} || end != text.data() + text.size())
              fail(ErrorCode::InvalidArgument, "--seed {}: expected a whole number from 0 to 18446744073709551615", text);
          },
          what)
      ->type_name("UINT")
      ->default_str(std::to_string(seed));
}

CLI::Option* by_name(CLI::Option* model) {
  return model->transform([](const std::string& text) { return formats::find_model(text).string(); });
}

edit::Bindings open_sources(const std::vector<std::string>& texts) {
  edit::Bindings bindings;
  for (const auto& text : texts) {
    const auto [name, path] = split(text, "-s", "base=path/to/model");
    if (!bindings.emplace(name, formats::open(formats::find_model(path))).second)
      fail(ErrorCode::InvalidArgument, "source '{}' is given twice", name);
  }
  return bindings;
}

std::string SourceOptions::text() const {
  std::string text;
  if (plan.vocabulary != edit::Vocabulary::Same) text += fmt::format(" --vocab {}", edit::name(plan.vocabulary));
  if (plan.allow_missing) text += " --allow-missing";
  if (plan.allow_differing_integers) text += " --allow-differing-integers";
  if (plan.any_base) text += " --any-base";
  if (!map.empty()) text += " --map " + map;
  return text;
}

void add_source_options(CLI::App& command, SourceOptions& options) {
  command.add_option("--map", options.map, "bring sources under the base's names: auto, or a name map such as openai-clip");
  add_vocabulary_option(command, options.plan.vocabulary);
  command.add_flag("--allow-missing", options.plan.allow_missing, "copy tensors that some sources lack");
  command.add_flag("--allow-differing-integers", options.plan.allow_differing_integers, "take non-float tensors from the base");
  command.add_flag("--any-base", options.plan.any_base, "add task vectors also to a model that is not their base");
}

edit::Bindings open_sources(const std::vector<std::string>& texts, const edit::Expr& expression, const SourceOptions& options) {
  edit::Bindings sources = open_sources(texts);
  if (options.map.empty()) return sources;
  for (const auto& [source, map] : edit::match_names(expression, sources, options.plan.base, options.map))
    note("source '{}' is read with the name map {}", source, map);
  return sources;
}

edit::CoefficientValues parse_coefficients(const std::vector<std::string>& texts) {
  edit::CoefficientValues values;
  for (const auto& text : texts) {
    const auto [name, number] = split(text, "--set", "x=0.4");
    double value = 0;
    const char* end = number.data() + number.size();
    if (const auto [stop, error] = std::from_chars(number.data(), end, value); error != std::errc{} || stop != end)
      fail(ErrorCode::InvalidArgument, "--set {}: '{}' is not a number", text, number);
    if (!values.emplace(name, value).second) fail(ErrorCode::InvalidArgument, "--set {}: ${} is set twice", text, name);
  }
  return values;
}

void print_warnings(const edit::Summary& summary, bool saturated) {
  for (size_t i = 0; i < summary.non_finite_tensors.size() && i < kTensorsShown; ++i) {
    const auto& [tensor, total, given] = summary.non_finite_tensors[i];
    warn("{} elements of '{}' are NaN or infinite: {}", total, tensor,
         given == total ? "they are in a source" : fmt::format("{} became so here, {} are in a source", total - given, given));
  }
  if (summary.non_finite_tensors.size() > kTensorsShown)
    warn("so are elements of {} more tensors, {} in all", summary.non_finite_tensors.size() - kTensorsShown, summary.non_finite);
  for (size_t i = 0; i < summary.overflows.size() && i < kTensorsShown; ++i) {
    const auto& [tensor, dtype, count] = summary.overflows[i];
    warn("{} elements of '{}' were too large for {} and {}", count, tensor, name(dtype),
         saturated ? "are clamped" : "are not finite");
  }
  if (summary.overflows.size() > kTensorsShown)
    warn("so were elements of {} more tensors", summary.overflows.size() - kTensorsShown);
}

Dtype parse_dtype_option(const std::string& text) {
  std::string word = text;
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::map<std::string_view, Dtype> others{{"fp16", Dtype::F16},  {"half", Dtype::F16}, {"fp32", Dtype::F32},
                                                 {"float", Dtype::F32}, {"fp64", Dtype::F64}, {"double", Dtype::F64}};
  if (const auto found = others.find(word); found != others.end()) return found->second;
  if (const auto dtype = parse_dtype(word)) return *dtype;  // numpy's word
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (const auto dtype = parse_dtype(word)) return *dtype;
  fail(ErrorCode::InvalidArgument, "--dtype {}: no such dtype; try BF16, F16 or F32", text);
}

void check_output(const std::string& output, bool force, const edit::Bindings& sources) {
  for (const auto& [name, checkpoint] : sources) formats::check_not_a_source(output, *checkpoint, name);
  formats::check_replaceable(output, force);
}

void note_left_behind(const formats::Checkpoint& base, formats::Output output) {
  if (output != formats::Output::Folder) return;
  for (const auto& line : formats::left_behind(base.path())) note("{}", line);
}

void print_summary(std::string_view command, const edit::Summary& summary, const std::string& output, bool json, bool saturated) {
  print_warnings(summary, saturated);
  const double rate = static_cast<double>(summary.bytes_read + summary.bytes_written) / std::max(summary.seconds, 1e-9);
  if (json) {
    print_result(command, nlohmann::ordered_json{{"output", output},
                                                 {"tensors", summary.tensors},
                                                 {"bytes_read", summary.bytes_read},
                                                 {"bytes_written", summary.bytes_written},
                                                 {"seconds", summary.seconds},
                                                 {"non_finite", summary.non_finite},
                                                 {"overflows", overflows_json(summary)}});
  } else {
    print("{}: {}, {} in {} ({}/s read and written)\n", output, format_count(summary.tensors, "tensor"),
          format_bytes(static_cast<double>(summary.bytes_written)), format_seconds(summary.seconds), format_bytes(rate));
  }
}

}  // namespace taskvec::cli
