#include "taskvec/eval/objective.h"

#include "taskvec/core/error.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/eval/linear_sweep.h"
#include "taskvec/train/head.h"

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

Logits make_logits(EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks, data::Split split) {
  if (evaluator.linear()) {
    if (const auto sweep = LinearSweep::make(model, evaluator, tasks, split))
      return [sweep](size_t task, std::span<const double> point) { return sweep->logits(task, point); };
  }
  return [&, split](size_t task, std::span<const double> point) {
    const bridge::Params& params = model.apply(point);
    return train::classify(evaluator.features(params, tasks[task], split), evaluator.head(params, tasks[task]));
  };
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

nlohmann::json identity(const EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks, data::Split split) {
  nlohmann::json json = edit::identity(model.layout());
  json["model"] = evaluator.identity();
  json["device"] = model.device().str();
  json["split"] = data::name(split);
  for (const data::Task& task : tasks) json["tasks"][task.name] = evaluator.identity(task, split);
  return json;
}

CoefficientSearch search_coefficients(EditedClip& model, EditedClip& reference, Evaluator& evaluator,
                                      const std::vector<data::Task>& tasks, search::SearchOptions options,
                                      const std::function<void()>& searched) {
  const search::Objective objective = make_objective(model, evaluator, tasks, data::Split::Val, options.axes);
  options.reference = metrics(evaluate_all(evaluator, reference.apply(), tasks, data::Split::Val));
  if (!options.log.empty()) options.measured = identity(model, evaluator, tasks, data::Split::Val);  // hashes all sources
  CoefficientSearch found{search::grid_search(options, objective), options.reference, options.measured, {}, {}, {}};
  if (searched) searched();
  const auto& chosen = found.result.trials[found.result.nearest].coefficients;
  for (const size_t place : places(model.coefficients(), options.axes)) found.coefficients.push_back(chosen[place]);
  if (!found.result.best) return found;
  found.test = evaluate_all(evaluator, model.apply(found.coefficients), tasks, data::Split::Test);
  found.reference_test = evaluate_all(evaluator, reference.apply(), tasks, data::Split::Test);
  return found;
}

}  // namespace taskvec::eval
