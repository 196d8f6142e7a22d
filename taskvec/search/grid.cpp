#include "taskvec/search/grid.h"

#include "taskvec/core/error.h"
#include "taskvec/search/scan.h"

#include <algorithm>
#include <set>

namespace taskvec::search {
namespace {

[[noreturn]] void bad_axis(std::string_view text, std::string_view why) {
  fail(ErrorCode::InvalidArgument, "--grid '{}': {}; write name=start:stop:step, e.g. a=0:1:0.05, or name=v1,v2, e.g. a=0,0.5,1",
       text, why);
}

double number(std::string_view part, std::string_view text) {
  const auto value = parse_number(part);
  if (!value) bad_axis(text, fmt::format("'{}' is not a finite number", part));
  return *value;
}

std::vector<double> range(std::string_view text, const std::vector<std::string_view>& parts) {
  if (parts.size() != 3) bad_axis(text, "a range has three parts");
  const double start = number(parts[0], text), stop = number(parts[1], text), step = number(parts[2], text);
  if (step == 0) bad_axis(text, "the step is 0");
  // The end belongs to the range although 20 steps of 0.05 are not exactly 1.
  const double steps = std::floor((stop - start) / step + 1e-9);
  if (steps < 0) bad_axis(text, "the step leads away from the end");
  if (!(steps < static_cast<double>(kMaxAxisValues))) bad_axis(text, fmt::format("more than {} values", kMaxAxisValues));
  std::vector<double> values;
  for (int64_t i = 0; i <= static_cast<int64_t>(steps); ++i) {
    const double value = start + static_cast<double>(i) * step;
    const double rounded = std::round(value * 1e12) / 1e12;
    values.push_back(std::abs(value) < 1e3 && std::abs(step) > 1e-9 ? rounded + 0.0 : value);
  }
  return values;
}

bool is_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

}  // namespace

Axis parse_axis(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) bad_axis(text, "no '='");
  Axis axis{std::string(trim(text.substr(0, equals))), {}};
  if (!axis.name.empty() && axis.name[0] == '$') axis.name.erase(0, 1);
  if (!is_name(axis.name)) bad_axis(text, fmt::format("'{}' is not the name of a coefficient", axis.name));
  const std::string_view rest = text.substr(equals + 1);
  if (const auto parts = split(rest, ':'); parts.size() > 1) {
    axis.values = range(text, parts);
  } else {
    const auto values = split(rest, ',');
    if (static_cast<int64_t>(values.size()) > kMaxAxisValues) bad_axis(text, fmt::format("more than {} values", kMaxAxisValues));
    for (const std::string_view part : values) axis.values.push_back(number(part, text));
  }
  return axis;
}

std::vector<std::vector<double>> grid_points(const std::vector<Axis>& axes) {
  if (axes.empty()) fail(ErrorCode::InvalidArgument, "nothing to search: give at least one axis, e.g. --grid a=0:1:0.05");
  std::set<std::string> names;
  std::string sizes;
  int64_t total = 1;
  for (const Axis& axis : axes) {
    if (axis.values.empty()) fail(ErrorCode::InvalidArgument, "axis '{}' of the grid has no values", axis.name);
    if (!names.insert(axis.name).second) fail(ErrorCode::InvalidArgument, "axis '{}' of the grid is given twice", axis.name);
    sizes += fmt::format("{}{}", sizes.empty() ? "" : " x ", axis.values.size());
    total = std::min(total * static_cast<int64_t>(std::min<size_t>(axis.values.size(), kMaxPoints + 1)), kMaxPoints + 1);
  }
  if (total > kMaxPoints) {
    fail(ErrorCode::InvalidArgument, "the grid has {} points, more than {}: take larger steps or fewer axes", sizes, kMaxPoints);
  }
  std::vector<std::vector<double>> points(static_cast<size_t>(total));
  for (size_t index = 0; index < points.size(); ++index) {
    points[index].resize(axes.size());
    for (size_t rest = index, axis = axes.size(); axis-- > 0; rest /= axes[axis].values.size()) {
      points[index][axis] = axes[axis].values[rest % axes[axis].values.size()];
    }
  }
  return points;
}

}  // namespace taskvec::search
