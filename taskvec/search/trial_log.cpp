#include "taskvec/search/trial_log.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/json_difference.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace taskvec::search {
namespace {

using nlohmann::json;

json to_json(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

[[noreturn]] void bad(const char* why) { throw std::invalid_argument(why); }

double number(const json& value, double low, double high, const char* what) {
  if (!value.is_number()) bad(what);
  const auto found = value.get<double>();
  if (!(found >= low && found <= high)) bad(what);
  return found;
}

/// The first line, by which the file is known as ours.
std::string header(const json& measured) {
  return json{{"format", 2}, {"measured", measured}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// As it is read back: names may be no UTF-8.
json as_read(const json& measured) { return parse_bounded_json(header(measured)).at("measured"); }

}  // namespace

TrialLog::TrialLog(const std::filesystem::path& path, const json& measured, const std::vector<Axis>& axes) : path_(path) {
  for (const Axis& axis : axes) names_.push_back(axis.name);
  file_.emplace(path, [&](std::string_view whole, std::string_view half) {
    if (whole.empty()) return header(measured).starts_with(half);
    const json first = parse_bounded_json(whole.substr(0, whole.find('\n')));
    constexpr std::string_view kTrial = R"({"coefficients":)";
    return first.is_object() && (first.contains("measured") || first.contains("key")) &&
           kTrial.substr(0, half.size()) == half.substr(0, kTrial.size());
  });
  read(file_->text(), measured);
  if (file_->text().empty()) file_->append(header(measured));
}

void TrialLog::read(const std::string& text, const json& measured) {
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    const json line = parse_bounded_json(std::string_view(text).substr(begin, end - begin));
    try {
      if (!line.is_object()) bad("no JSON object");
      if (number > 1) {
        remember(line);
      } else if (line.contains("key") && !line.contains("measured")) {
        fail(ErrorCode::InvalidArgument,
             "{}: was begun by an earlier version, which did not say all that its trials depend on; give another -o folder, or "
             "delete the file to start anew",
             path_.string());
      } else if (const auto found = line.find("measured"); found == line.end() || line.value("format", json()) != 2) {
        bad("the first line of a log says what was 'measured', in 'format' 2");
      } else if (const std::string what = json_difference(*found, as_read(measured)); !what.empty()) {
        fail(ErrorCode::InvalidArgument,
             "{}: holds the trials of another search, with {}; give another -o folder, or delete the file to start anew",
             path_.string(), what);
      }
    } catch (const std::invalid_argument& error) {
      fail(ErrorCode::Format, "{}: line {} is not a trial of a search: {}; delete {} to start anew", path_.string(), number,
           error.what(), number == 1 ? "the file" : "the line, or the file");
    }
    begin = end + 1;
  }
}

void TrialLog::remember(const json& line) {
  const auto member = [&](const char* key) -> const json& {
    const auto found = line.find(key);
    if (found == line.end()) bad("it lacks 'coefficients', 'metrics' or 'seconds'");
    return *found;
  };
  constexpr double kInfinite = std::numeric_limits<double>::infinity(), kLargest = std::numeric_limits<double>::max();
  Trial trial;
  const json &coefficients = member("coefficients"), &metrics = member("metrics");
  if (!coefficients.is_object() || !metrics.is_object() || metrics.empty())
    bad("'coefficients' and 'metrics' are maps of numbers");
  trial.seconds = number(member("seconds"), 0, kInfinite, "'seconds' is no number from 0");
  for (const auto& [name, value] : metrics.items())
    trial.metrics[name] =
        value.is_null() ? std::numeric_limits<double>::quiet_NaN() : number(value, 0, 1, "a metric is no number from 0 to 1");
  for (const auto& [name, value] : coefficients.items()) number(value, -kLargest, kLargest, "a coefficient is no number");
  if (coefficients.size() != names_.size()) return;  // of a search over other axes
  for (const std::string& name : names_) {
    if (!coefficients.contains(name)) return;
    trial.coefficients.push_back(coefficients.at(name).get<double>());
  }
  trials_[trial.coefficients] = std::move(trial);
}

const Trial* TrialLog::find(const std::vector<double>& coefficients) const {
  const auto found = trials_.find(coefficients);
  return found == trials_.end() ? nullptr : &found->second;
}

void TrialLog::append(const Trial& trial) {
  json coefficients = json::object(), metrics = json::object();
  for (size_t i = 0; i < names_.size(); ++i) coefficients[names_[i]] = trial.coefficients[i];
  for (const auto& [name, value] : trial.metrics) metrics[name] = to_json(value);
  file_->append(json{{"coefficients", coefficients}, {"metrics", metrics}, {"seconds", trial.seconds}}.dump());
}

}  // namespace taskvec::search
