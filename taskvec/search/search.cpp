#include "taskvec/search/search.h"

#include "taskvec/core/error.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/search/trial_log.h"

#include <chrono>
#include <limits>

namespace taskvec::search {
namespace {

using Clock = std::chrono::steady_clock;

/// Fills in what the goal and the constraints say to the metrics.
void judge(Trial& trial, const SearchOptions& options) {
  trial.objective = options.goal.value(trial.metrics);
  trial.violation = 0;
  for (const Constraint& constraint : options.constraints)
    trial.violation += constraint.violation(trial.metrics, options.reference);
}

/// For comparisons: larger is better, not a number is worst.
double score(const Trial& trial, const Goal& goal) {
  if (trial.objective != trial.objective) return -std::numeric_limits<double>::infinity();
  return goal.maximize ? trial.objective : -trial.objective;
}

bool nearer(const Trial& a, const Trial& b, const Goal& goal) {
  if (a.violation != b.violation) return a.violation < b.violation;
  return score(a, goal) >= score(b, goal);
}

}  // namespace

SearchResult grid_search(const SearchOptions& options, const Objective& objective) {
  const auto points = grid_points(options.axes);
  std::optional<TrialLog> log;
  if (!options.log.empty()) log.emplace(options.log, options.measured, options.axes);

  SearchResult result;
  for (const auto& point : points) {
    Trial trial;
    const Trial* logged = log ? log->find(point) : nullptr;
    if (logged != nullptr) {
      trial = *logged;
      ++result.resumed;
    } else {
      const auto start = Clock::now();
      try {
        trial = {point, objective(point), 0, 0, 0};
      } catch (const Interrupted& interrupted) {
        const std::string how = log ? fmt::format("the same command goes on there ({})", options.log.string())
                                    : "with -o FOLDER the same command would go on there";
        throw Interrupted(interrupted.signal(),
                          fmt::format(" after {} of {} points; {}", result.trials.size(), points.size(), how));
      }
      trial.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    judge(trial, options);  // before it is logged: an unknown metric is not worth a line
    if (log && logged == nullptr) log->append(trial);
    if (options.on_trial) options.on_trial(trial);

    const size_t index = result.trials.size();
    result.trials.push_back(std::move(trial));
    const auto& trials = result.trials;
    if (nearer(trials[index], trials[result.nearest], options.goal)) result.nearest = index;
    if (trials[index].feasible() &&
        (!result.best || score(trials[index], options.goal) >= score(trials[*result.best], options.goal))) {
      result.best = index;
    }
  }
  if (result.best) result.nearest = *result.best;
  return result;
}

}  // namespace taskvec::search
