#include "cli/common.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/progress.h"
#include "taskvec/formats/replaceable.h"

#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <filesystem>

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

edit::Bindings open_sources(const std::vector<std::string>& texts) {
  edit::Bindings bindings;
  for (const auto& text : texts) {
    const auto [name, path] = split(text, "-s", "base=path/to/model");
    if (!bindings.emplace(name, formats::open(path)).second) fail(ErrorCode::InvalidArgument, "source '{}' is given twice", name);
  }
  return bindings;
}

edit::CoefficientValues parse_coefficients(const std::vector<std::string>& texts) {
  edit::CoefficientValues values;
  for (const auto& text : texts) {
    const auto [name, number] = split(text, "--set", "x=0.4");
    double value = 0;
    const char* end = number.data() + number.size();
    if (const auto [stop, error] = std::from_chars(number.data(), end, value); error != std::errc{} || stop != end)
      fail(ErrorCode::InvalidArgument, "--set {}: '{}' is not a number", text, number);
    values[name] = value;
  }
  return values;
}

void print_warnings(const edit::Summary& summary, bool saturated) {
  if (summary.non_finite > 0) fmt::print(stderr, "warning: {} elements of the output are NaN or infinite\n", summary.non_finite);
  for (size_t i = 0; i < summary.overflows.size() && i < kTensorsShown; ++i) {
    const auto& [tensor, dtype, count] = summary.overflows[i];
    fmt::print(stderr, "warning: {} elements of '{}' were too large for {} and {}\n", count, tensor, name(dtype),
               saturated ? "are clamped" : "are not finite");
  }
  if (summary.overflows.size() > kTensorsShown)
    fmt::print(stderr, "warning: so were elements of {} more tensors\n", summary.overflows.size() - kTensorsShown);
}

Dtype parse_dtype_option(const std::string& text) {
  if (const auto dtype = parse_dtype(text)) return *dtype;
  fail(ErrorCode::InvalidArgument, "--dtype {}: no such dtype; try BF16, F16 or F32", text);
}

void check_output(const std::string& output, bool force, const edit::Bindings& sources) {
  for (const auto& [name, checkpoint] : sources) formats::check_not_a_source(output, *checkpoint, name);
  formats::check_replaceable(output, force);
}

void print_summary(const edit::Summary& summary, const std::string& output, bool json, bool saturated) {
  print_warnings(summary, saturated);
  const double rate = static_cast<double>(summary.bytes_read + summary.bytes_written) / std::max(summary.seconds, 1e-9);
  if (json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"output", output},
                                              {"tensors", summary.tensors},
                                              {"bytes_read", summary.bytes_read},
                                              {"bytes_written", summary.bytes_written},
                                              {"seconds", summary.seconds},
                                              {"non_finite", summary.non_finite},
                                              {"overflows", overflows_json(summary)}}
                           .dump());
  } else {
    fmt::print("{}: {} tensors, {} in {} ({}/s read and written)\n", output, summary.tensors,
               format_bytes(static_cast<double>(summary.bytes_written)), format_seconds(summary.seconds), format_bytes(rate));
  }
}

void add_threads_option(CLI::App& command) {
  command.add_option_function<int>(
      "--threads", [](int count) { set_thread_count(count); }, "threads to use (default: all cores)");
}

}  // namespace taskvec::cli
