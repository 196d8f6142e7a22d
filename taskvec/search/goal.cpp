#include "taskvec/search/goal.h"

#include "taskvec/core/error.h"
#include "taskvec/search/scan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

namespace taskvec::search {
namespace {

/// Names of metrics may hold anything that is not part of the grammar.
bool is_metric(std::string_view name) { return !name.empty() && name.find_first_of(" \t,()<>=*") == std::string_view::npos; }

[[noreturn]] void bad_goal(std::string_view text, bool maximize) {
  fail(ErrorCode::InvalidArgument,
       "--{} '{}': write the name of a metric or mean(...) of several, e.g. mnist or mean(mnist, glyphs)",
       maximize ? "maximize" : "minimize", text);
}

[[noreturn]] void bad_constraint(std::string_view text) {
  fail(ErrorCode::InvalidArgument,
       "--subject-to '{}': write METRIC >= NUMBER, METRIC >= FACTOR*base, or the same with <=, e.g. "
       "'glyphs >= 0.95*base'",
       text);
}

}  // namespace

double metric(const Metrics& metrics, std::string_view name, std::string_view where) {
  if (const auto found = metrics.find(name); found != metrics.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, value] : metrics) names.push_back(known);
  fail(ErrorCode::InvalidArgument, "unknown metric '{}' in {}: measured are {}{}", name, where, fmt::join(names, ", "),
       did_you_mean(name, names));
}

Goal parse_goal(std::string_view text, bool maximize) {
  Goal goal{{}, maximize};
  std::string_view rest = trim(text);
  if (rest.ends_with(')')) {
    if (!rest.starts_with("mean")) bad_goal(text, maximize);
    rest = trim(rest.substr(4));
    if (!rest.starts_with('(')) bad_goal(text, maximize);
    rest = rest.substr(1, rest.size() - 2);
    for (const std::string_view name : split(rest, ',')) goal.metrics.emplace_back(trim(name));
  } else {
    goal.metrics.emplace_back(rest);
  }
  if (!std::all_of(goal.metrics.begin(), goal.metrics.end(), is_metric)) bad_goal(text, maximize);
  return goal;
}

double Goal::value(const Metrics& values) const {
  double sum = 0;
  for (const std::string& name : metrics) sum += metric(values, name, text());
  return std::isfinite(sum) ? sum / static_cast<double>(metrics.size()) : std::numeric_limits<double>::quiet_NaN();
}

std::string Goal::text() const {
  const char* verb = maximize ? "maximize" : "minimize";
  return metrics.size() == 1 ? fmt::format("{} {}", verb, metrics[0])
                             : fmt::format("{} mean({})", verb, fmt::join(metrics, ", "));
}

Constraint parse_constraint(std::string_view text) {
  const size_t sign = text.find_first_of("<>");
  if (sign == std::string_view::npos || sign + 1 >= text.size() || text[sign + 1] != '=') bad_constraint(text);
  Constraint constraint;
  constraint.metric = trim(text.substr(0, sign));
  constraint.at_least = text[sign] == '>';
  std::string_view right = trim(text.substr(sign + 2));
  std::optional<double> number;
  if (right == "base") {
    constraint.relative = true;
    number = 1;
  } else if (const size_t star = right.find('*'); star != std::string_view::npos) {
    constraint.relative = true;
    if (trim(right.substr(star + 1)) == "base") number = parse_number(right.substr(0, star));
    if (trim(right.substr(0, star)) == "base") number = parse_number(right.substr(star + 1));
  } else {
    number = parse_number(right);
  }
  if (!number || !is_metric(constraint.metric)) bad_constraint(text);
  constraint.number = *number;
  constraint.text = fmt::format("{} {} {}{}", constraint.metric, constraint.at_least ? ">=" : "<=", constraint.number,
                                constraint.relative ? "*base" : "");
  return constraint;
}

double Constraint::bound(const Metrics& reference) const {
  return relative ? number * search::metric(reference, metric, "the base of '" + text + "'") : number;
}

double Constraint::violation(const Metrics& metrics, const Metrics& reference) const {
  const double value = search::metric(metrics, metric, "the constraint '" + text + "'"), limit = bound(reference);
  if (!std::isfinite(value) || !std::isfinite(limit)) return std::numeric_limits<double>::infinity();
  return std::max(0.0, at_least ? limit - value : value - limit);
}

}  // namespace taskvec::search
