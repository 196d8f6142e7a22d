#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace taskvec::search {

/// Metric name -> value, e.g. {"mnist": 0.81, "glyphs": 0.70}.
using Metrics = std::map<std::string, double, std::less<>>;

/// Measures one point. Injected: this rung knows nothing of networks.
using Objective = std::function<Metrics(std::span<const double> coefficients)>;

/// One axis of a grid: `name=start:stop:step` (both ends included) or `name=v1,v2,v3`.
struct Axis {
  std::string name;
  std::vector<double> values;
};
/// @throws Error{InvalidArgument} with an example of the right form; more than 10,000 values are refused.
Axis parse_axis(std::string_view text);

/// What is to be maximised or minimised: a metric name, or mean(a, b, ...) of several.
struct Goal {
  std::vector<std::string> metrics;  ///< mean of these
  bool maximize = true;
};
Goal parse_goal(std::string_view text, bool maximize);

/// `metric >= number`, `metric >= factor*base` (or <=): base is the metric of the reference point.
struct Constraint {
  std::string metric;
  bool at_least = true;
  double number = 0;
  bool relative = false;
  std::string text;

  double bound(const Metrics& reference) const;
  /// How far the point is from satisfying it; 0 when it does.
  double violation(const Metrics& metrics, const Metrics& reference) const;
};
Constraint parse_constraint(std::string_view text);

struct Trial {
  std::vector<double> coefficients;
  Metrics metrics;
  double objective = 0;
  double violation = 0;  ///< sum over the constraints, 0: feasible
  double seconds = 0;
};

struct SearchOptions {
  std::vector<Axis> axes;  ///< the product of all of them is evaluated, last axis fastest
  Goal goal;
  std::vector<Constraint> constraints;
  Metrics reference;       ///< metrics of the reference point, for `base` in constraints
  std::string log;         ///< trials.jsonl: appended as trials finish; trials that it holds already are not run again; "" for none
  std::string key;         ///< identifies the objective in the log; a log with another key is an error
};

struct SearchResult {
  std::vector<Trial> trials;        ///< in grid order
  std::optional<size_t> best;       ///< among the feasible; ties go to the larger step from the reference, i.e. the later grid point
  size_t nearest = 0;               ///< least violation (best itself when there is one)
};

/// Evaluates the whole grid and chooses. Never sees a test split: the caller's objective says what it measures.
SearchResult grid_search(const SearchOptions& options, const Objective& objective);

}  // namespace taskvec::search
