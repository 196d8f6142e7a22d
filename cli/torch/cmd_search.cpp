#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/eval/convex.h"
#include "taskvec/eval/objective.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string expression, maximize, minimize, output, base, device = "cpu", mode = "auto", origin;
  std::vector<std::string> sources, coefficients, axes, constraints, tasks;
  eval::EvalOptions options;
  uint64_t cache = kSweepCache;
  bool json = false, solve = false;
};

search::SearchOptions search_options(const Arguments& arguments) {
  if (arguments.solve) {
    if (arguments.axes.empty() && arguments.maximize.empty() && arguments.minimize.empty() && arguments.constraints.empty() &&
        !arguments.tasks.empty())
      return {};
    fail(ErrorCode::InvalidArgument,
         "--solve minimises the loss over the tasks of -t; it goes with no --grid, goal or constraint");
  }
  if (arguments.axes.empty())
    fail(ErrorCode::InvalidArgument, "say where to search: --grid a=0:1:0.05, or --solve in the tangent space");
  if (arguments.maximize.empty() == arguments.minimize.empty()) {
    fail(ErrorCode::InvalidArgument, "say what to search for: --maximize METRIC or --minimize METRIC, e.g. --maximize mnist");
  }
  search::SearchOptions options;
  for (const std::string& text : arguments.axes) options.axes.push_back(search::parse_axis(text));
  const bool maximize = !arguments.maximize.empty();
  options.goal = search::parse_goal(maximize ? arguments.maximize : arguments.minimize, maximize);
  for (const std::string& text : arguments.constraints) options.constraints.push_back(search::parse_constraint(text));
  if (!arguments.output.empty()) {
    std::filesystem::create_directories(arguments.output);
    options.log = std::filesystem::path(arguments.output) / "trials.jsonl";
  }
  return options;
}

/// The tasks that goal and constraints name, and those that are asked for besides.
std::vector<data::Task> search_tasks(const Arguments& arguments, const search::SearchOptions& options) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const std::string& name : options.goal.metrics) add(name);
  for (const search::Constraint& constraint : options.constraints) add(constraint.metric);
  auto tasks = load_tasks(arguments.tasks);
  for (const std::string& name : names) {
    if (std::none_of(tasks.begin(), tasks.end(), [&](const data::Task& task) { return task.name == name; })) {
      tasks.push_back(data::load_task(name));
    }
  }
  return tasks;
}

void print_trials(const search::SearchOptions& options, const search::SearchResult& result,
                  const std::vector<data::Task>& tasks) {
  std::vector<std::string> head;
  for (const search::Axis& axis : options.axes) head.push_back(axis.name);
  for (const data::Task& task : tasks) head.push_back(task.name);
  if (!options.constraints.empty()) head.emplace_back("allowed");
  report::Table table(head);
  for (size_t i = 0; i < result.trials.size(); ++i) {
    const search::Trial& trial = result.trials[i];
    std::vector<std::string> cells;
    for (const double value : trial.coefficients) cells.push_back(report::coefficient(value));
    for (const data::Task& task : tasks) cells.push_back(report::percent(trial.metrics.at(task.name)));
    if (!options.constraints.empty()) cells.emplace_back(trial.feasible() ? "yes" : "no");
    i == result.nearest ? table.strong_row(cells) : table.row(cells);
  }
  table.print();
}

ordered_json to_json(const search::SearchOptions& options, const search::SearchResult& result, const search::Metrics& reference,
                     const eval::Results& test, const eval::Results& test_reference) {
  const auto trial_json = [&](const search::Trial& trial) {
    ordered_json json;
    for (size_t a = 0; a < options.axes.size(); ++a) json["coefficients"][options.axes[a].name] = trial.coefficients[a];
    json["val"] = trial.metrics;
    json["feasible"] = trial.feasible();
    return json;
  };
  ordered_json json;
  json["goal"] = options.goal.text();
  for (const search::Constraint& constraint : options.constraints) json["constraints"].push_back(constraint.text);
  json["feasible"] = result.best.has_value();
  json[result.best ? "best" : "nearest"] = trial_json(result.trials[result.nearest]);
  json["base_val"] = reference;
  for (const auto& [name, value] : test) json["test"][name] = value.to_json();
  for (const auto& [name, value] : test_reference) json["base_test"][name] = value.to_json();
  for (const search::Trial& trial : result.trials) json["trials"].push_back(trial_json(trial));
  return json;
}

void print_test(const std::vector<data::Task>& tasks, const eval::Results& reference, const eval::Results& edited) {
  report::Table table({"task", "base", "edited", "change", "95 % interval"});
  for (const data::Task& task : tasks) {
    const eval::Accuracy &before = reference.at(task.name).accuracy, &after = edited.at(task.name).accuracy;
    table.row({task.name, report::percent(before.value()), report::percent(after.value()),
               report::points(after.value() - before.value()),
               report::percent(after.low()) + " to " + report::percent(after.high())});
  }
  table.print();
}

/// The coefficients by convex optimisation: there is one best point, and no grid.
void run_solve(const Arguments& arguments, eval::EditedClip& model, eval::EditedClip& reference, eval::Evaluator& evaluator,
               const std::vector<data::Task>& tasks) {
  if (!evaluator.linear())
    fail(ErrorCode::InvalidArgument, "--solve needs the tangent space, where the loss is convex: --mode linear (or posthoc)");
  const auto sweep = eval::LinearSweep::make(model, evaluator, tasks, data::Split::Val);
  if (!sweep) fail(ErrorCode::InvalidArgument, "--solve needs weights that are affine in the coefficients, and one text encoder");
  const eval::ConvexSolution solution = eval::solve_coefficients(*sweep);
  const auto test = eval::evaluate_all(evaluator, model.apply(solution.coefficients), tasks, data::Split::Test);
  const auto test_reference = eval::evaluate_all(evaluator, reference.apply(), tasks, data::Split::Test);
  if (arguments.json) {
    ordered_json json;
    for (size_t k = 0; k < solution.coefficients.size(); ++k)
      json["coefficients"][model.coefficients()[k]] = solution.coefficients[k];
    json["loss"] = solution.loss;
    json["loss_at_zero"] = solution.loss_at_zero;
    json["gradient_norm"] = solution.gradient_norm;
    json["gap"] = solution.gap;
    json["steps"] = solution.steps;
    json["val"] = sweep->metrics(solution.coefficients);
    for (const auto& [name, value] : test) json["test"][name] = value.to_json();
    for (const auto& [name, value] : test_reference) json["base_test"][name] = value.to_json();
    print_result("search", json);
    return;
  }
  report::Table table({"coefficient", "value"});
  for (size_t k = 0; k < solution.coefficients.size(); ++k)
    table.row({model.coefficients()[k], fmt::format("{:.4f}", solution.coefficients[k])});
  table.print();
  print("\nloss on val {:.4f}, {:.4f} with all at 0; at most {:.1e} above the least\n\n", solution.loss, solution.loss_at_zero,
        solution.gap);
  print_test(tasks, test_reference, test);
}

void run_search(const Arguments& arguments) {
  search::SearchOptions options = search_options(arguments);
  const auto tasks = search_tasks(arguments, options);
  eval::EditedClip model = open_model(arguments.expression, arguments.sources, arguments.coefficients, arguments.device);
  const std::string base =
      arguments.base.empty() ? arguments.sources.front().substr(0, arguments.sources.front().find('=')) : arguments.base;
  eval::EditedClip reference = open_model(base, arguments.sources, {}, arguments.device);
  eval::EvalOptions quiet = arguments.options;
  quiet.progress = false;
  eval::Evaluator evaluator(model.network(), model.folder(), quiet);
  keep_sweeps(evaluator, arguments.cache);

  if (auto origin = eval::linear_origin(model, eval::parse_mode(arguments.mode), arguments.origin)) {
    evaluator.linearise(std::move(*origin));
  }

  if (arguments.solve) return run_solve(arguments, model, reference, evaluator, tasks);

  int64_t points = 1;
  for (const search::Axis& axis : options.axes) points *= static_cast<int64_t>(axis.values.size());
  Progress progress("searching", points, "points");
  options.on_trial = [&](const search::Trial&) { progress.add(1); };
  const eval::CoefficientSearch found = eval::search_coefficients(model, reference, evaluator, tasks, options);
  const search::SearchResult& result = found.result;

  // The one look at the test split, after the choice.
  const search::Trial& chosen = result.trials[result.nearest];
  std::vector<double> values;
  for (const std::string& name : model.coefficients()) {
    const auto axis = std::find_if(options.axes.begin(), options.axes.end(), [&](const auto& a) { return a.name == name; });
    values.push_back(chosen.coefficients[static_cast<size_t>(axis - options.axes.begin())]);
  }
  eval::Results test, test_reference;
  if (result.best) {
    test = eval::evaluate_all(evaluator, model.apply(values), tasks, data::Split::Test);
    test_reference = eval::evaluate_all(evaluator, reference.apply(), tasks, data::Split::Test);
  }
  if (arguments.json) {
    print_result("search", to_json(options, result, found.reference, test, test_reference));
  } else {
    print_trials(options, result, tasks);
    std::string at;
    for (size_t a = 0; a < options.axes.size(); ++a) {
      at += fmt::format("{}{} = {}", a ? ", " : "", options.axes[a].name, report::coefficient(chosen.coefficients[a]));
    }
    if (result.best) {
      print("\n{}: {} (chosen on val; on test:)\n", options.goal.text(), at);
      print_test(tasks, test_reference, test);
    } else {
      print("\nno point satisfies the constraints; the nearest is {}\n", at);
    }
  }
  if (!result.best) throw Infeasible{};
}

}  // namespace

void add_search_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "search",
      "Find coefficients on validation splits, test once\n\n"
      "  taskvec search 'base - $a*(ft - base)' -s base=assets/pocket-clip -s ft=runs/mnist \\\n"
      "    --grid a=0:1:0.05 --minimize mnist --subject-to 'glyphs >= 0.95*base' -o runs/forget-mnist\n\n"
      "Metrics are accuracies, named after tasks; a goal may be a mean: --maximize 'mean(mnist, fashion-mnist)'. In constraints\n"
      "'base' is the metric of the first source. With -o every trial is kept in trials.jsonl and a search that was stopped goes\n"
      "on there. Exit code 3: no point satisfies the constraints; the nearest is shown.\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("EXPR", arguments->expression, "the edit, with $coefficients")->required();
  command->add_option("-s,--source", arguments->sources, "a source of the expression: name=path")->required();
  command->add_option("--grid", arguments->axes, "values of a coefficient: a=0:1:0.05 or a=0.1,0.3");
  command->add_flag(
      "--solve", arguments->solve,
      "no grid: the coefficients that minimise the loss over the tasks of -t, in the tangent space, where it is convex");
  command->add_option("--maximize", arguments->maximize, "a task, or mean(task, ...)");
  command->add_option("--minimize", arguments->minimize, "a task, or mean(task, ...)");
  command->add_option("--subject-to", arguments->constraints, "'task >= 0.7' or 'task >= 0.95*base' (or <=); repeatable");
  command->add_option("-t,--task", arguments->tasks, "further tasks to measure");
  command->add_option("--set", arguments->coefficients, "the value of a coefficient that stays: name=number");
  command->add_option("--base", arguments->base, "the source that 'base' means in constraints (default: the first)");
  command->add_option("-o,--output", arguments->output, "a folder for trials.jsonl");
  add_pass_options(*command, arguments->options);
  add_mode_options(*command, arguments->mode, arguments->origin);
  add_cache_option(*command, arguments->cache);
  add_device_option(*command, arguments->device);
  command->add_flag("--json", arguments->json, "the result as JSON");
  command->callback([=] { run_search(*arguments); });
}

}  // namespace taskvec::cli
