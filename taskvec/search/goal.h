#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::search {

/// Metric name -> value, e.g. {"mnist": 0.81, "glyphs": 0.70}.
using Metrics = std::map<std::string, double, std::less<>>;

/// What is to be maximised or minimised: a metric name, or mean(a, b, ...) of several.
struct Goal {
  std::vector<std::string> metrics;  ///< mean of these
  bool maximize = true;

  double value(const Metrics& metrics) const;  ///< NaN when one of them is not finite
  std::string text() const;                    ///< "maximize mean(mnist, fashion-mnist)"
};
/// @throws Error{InvalidArgument} with an example of the right form.
Goal parse_goal(std::string_view text, bool maximize);

/// `metric >= number`, `metric >= factor*base` (or <=): base is the metric of the reference point.
struct Constraint {
  std::string metric;
  bool at_least = true;
  double number = 0;
  bool relative = false;
  std::string text;  ///< canonical

  double bound(const Metrics& reference) const;
  /// How far the point is from satisfying it; 0 when it does, infinite when the metric or the bound is not a number.
  double violation(const Metrics& metrics, const Metrics& reference) const;
};
/// @throws Error{InvalidArgument} with an example of the right form.
Constraint parse_constraint(std::string_view text);

/// The metric called `name`. @throws Error{InvalidArgument} naming `where` and the nearest name.
double metric(const Metrics& metrics, std::string_view name, std::string_view where);

}  // namespace taskvec::search
