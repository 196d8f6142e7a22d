#pragma once

#include "taskvec/search/goal.h"
#include "taskvec/search/grid.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <optional>
#include <span>

namespace taskvec::search {

/// Measures one point. Injected: this rung knows nothing of networks.
using Objective = std::function<Metrics(std::span<const double> coefficients)>;

struct Trial {
  std::vector<double> coefficients;
  Metrics metrics;
  double objective = 0;  ///< the goal's value, NaN when one of its metrics is
  double violation = 0;  ///< sum over the constraints, 0: feasible, infinite: a metric is not a number
  double seconds = 0;

  bool feasible() const { return violation == 0 && objective == objective; }
};

struct SearchOptions {
  std::vector<Axis> axes;  ///< the product of all of them is evaluated, last axis fastest; at most kMaxPoints
  Goal goal;
  std::vector<Constraint> constraints;
  Metrics reference;          ///< metrics of the reference point, for `base` in constraints
  std::filesystem::path log;  ///< trials.jsonl: appended as trials finish; trials that it holds are not run again; "" for none
  nlohmann::json measured;  ///< an object: everything that the metrics of a point depend on; a log of something else is an error
  std::function<void(const Trial&)> on_trial;  ///< called after each trial in grid order, resumed ones included; may be empty
};

struct SearchResult {
  std::vector<Trial> trials;  ///< in grid order
  std::optional<size_t>
      best;            ///< the best feasible trial; of equally good ones the last in grid order. Never one with a NaN metric.
  size_t nearest = 0;  ///< best itself, else the least violation; of equal ones the better objective, then the last
  size_t resumed = 0;  ///< trials that came from the log
};

/// Evaluates the whole grid and chooses. Never sees a test split: the caller's objective says what it measures.
/// @throws Error{InvalidArgument} for no or repeated axes, a grid of more than kMaxPoints points (naming the sizes), metrics of
/// the goal or
///         the constraints that the objective does not measure (nearest suggested), a log of another search; Error{Format} naming
///         log and line; what the objective throws.
SearchResult grid_search(const SearchOptions& options, const Objective& objective);

}  // namespace taskvec::search
