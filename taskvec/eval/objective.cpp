#include "taskvec/eval/objective.h"

#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/eval/linear_sweep.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace taskvec::eval {
namespace {

/// For each coefficient of the model its place among the axes.
std::vector<size_t> places(const std::vector<std::string>& coefficients, const std::vector<search::Axis>& axes) {
  for (const search::Axis& axis : axes) {
    if (std::find(coefficients.begin(), coefficients.end(), axis.name) != coefficients.end()) continue;
    fail(ErrorCode::InvalidArgument, "--grid {}: the expression has no open coefficient ${}; it has {}{}", axis.name, axis.name,
         coefficients.empty() ? "none" : fmt::format("${}", fmt::join(coefficients, ", $")),
         did_you_mean(axis.name, coefficients));
  }
  std::vector<size_t> places;
  for (const std::string& name : coefficients) {
    const auto found = std::find_if(axes.begin(), axes.end(), [&](const search::Axis& axis) { return axis.name == name; });
    if (found == axes.end()) {
      fail(ErrorCode::InvalidArgument, "coefficient ${} has neither a range (--grid {}=0:1:0.05) nor a value (--set {}=0.3)",
           name, name, name);
    }
    places.push_back(static_cast<size_t>(found - axes.begin()));
  }
  return places;
}

/// What the metrics of a point depend on, coefficients aside.
std::string search_key(const EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks) {
  Fingerprint print;
  const edit::Plan& plan = model.layout();
  print.update(plan.expression);
  for (const auto& source : plan.sources) print.update(source->fingerprint());
  for (const auto& [name, value] : plan.options.coefficients) {
    // Only what was fixed; those on the grid are not in the options.
    print.update(fmt::format("\n{}={}", name, value));
  }
  if (plan.options.vocabulary != edit::Vocabulary::Same)
    print.update(fmt::format("\nvocab={}", edit::name(plan.options.vocabulary)));
  print.update(evaluator.origin_fingerprint()).update(evaluator.preprocess().key());
  if (const auto precision = evaluator.options().precision; precision != bridge::Precision::Float32)
    print.update(fmt::format("\nprecision={}", bridge::name(precision)));
  for (const data::Task& task : tasks) {
    print.update(fmt::format("\n{}\n{}\n{}\n{}", task.name, evaluator.fingerprint(task, data::Split::Val),
                             fmt::join(task.classes, "\t"), fmt::join(task.templates, "\t")));
  }
  return print.hex();
}

}  // namespace

Results evaluate_all(Evaluator& evaluator, const bridge::Params& params, const std::vector<data::Task>& tasks,
                     data::Split split) {
  Results results;
  for (const data::Task& task : tasks) results[task.name] = evaluator.evaluate(params, task, split);
  return results;
}

search::Metrics metrics(const Results& results) {
  search::Metrics metrics;
  for (const auto& [name, result] : results) metrics[name] = result.accuracy.value();
  return metrics;
}

search::Objective make_objective(EditedClip& model, Evaluator& evaluator, std::vector<data::Task> tasks, data::Split split,
                                 const std::vector<search::Axis>& axes) {
  if (split == data::Split::Test) {
    fail(ErrorCode::InvalidArgument,
         "coefficients are never chosen on the test split; search on val and evaluate the choice on test");
  }
  const std::vector<size_t> order = places(model.coefficients(), axes);
  const auto values = [order](std::span<const double> point) {
    std::vector<double> picked;
    for (const size_t place : order) picked.push_back(point[place]);
    return picked;
  };
  if (evaluator.linear()) {
    if (auto sweep = LinearSweep::make(model, evaluator, tasks, split)) {
      return [sweep, values](std::span<const double> point) { return sweep->metrics(values(point)); };
    }
  }
  return [&model, &evaluator, tasks = std::move(tasks), split, values](std::span<const double> point) -> search::Metrics {
    const bridge::Params& params = model.apply(values(point));
    search::Metrics metrics;
    for (const data::Task& task : tasks) {
      metrics[task.name] = accuracy_or_nan([&] { return evaluator.evaluate(params, task, split).accuracy; });
    }
    return metrics;
  };
}

CoefficientSearch search_coefficients(EditedClip& model, EditedClip& reference, Evaluator& evaluator,
                                      const std::vector<data::Task>& tasks, search::SearchOptions options) {
  const search::Objective objective = make_objective(model, evaluator, tasks, data::Split::Val, options.axes);
  options.reference = metrics(evaluate_all(evaluator, reference.apply(), tasks, data::Split::Val));
  if (!options.log.empty()) options.key = search_key(model, evaluator, tasks);
  return {search::grid_search(options, objective), options.reference};
}

}  // namespace taskvec::eval
