#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/eval/convex.h"
#include "taskvec/eval/objective.h"
#include "taskvec/report/plot.h"
#include "taskvec/report/result_folder.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <memory>
#include <set>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string expression, maximize, minimize, output, base, device = "cpu", mode = "auto", origin, write;
  std::vector<std::string> sources, coefficients, axes, constraints, tasks;
  eval::EvalOptions options;
  uint64_t cache = kSweepCache;
  SourceOptions bring;
  bool json = false, solve = false, force = false;
};

report::ResultFolder result_folder(const Arguments& arguments) {
  return {arguments.output, "search", "result.json", {"curve.png", "curve.svg"}};
}

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
  if (!arguments.maximize.empty() && !arguments.minimize.empty())
    fail(ErrorCode::InvalidArgument,
         "--maximize and --minimize are two goals, and a search has one; make the other a constraint: --subject-to '{} >= "
         "0.95*base'",
         arguments.maximize);
  if (arguments.maximize.empty() && arguments.minimize.empty())
    fail(ErrorCode::InvalidArgument, "say what to search for: --maximize METRIC or --minimize METRIC, e.g. --maximize mnist");
  search::SearchOptions options;
  for (const std::string& text : arguments.axes) options.axes.push_back(search::parse_axis(text));
  const bool maximize = !arguments.maximize.empty();
  options.goal = search::parse_goal(maximize ? arguments.maximize : arguments.minimize, maximize);
  for (const std::string& text : arguments.constraints) {
    options.constraints.push_back(search::parse_constraint(text));
    const search::Constraint& made = options.constraints.back();
    if (made.relative || (made.number >= 0 && made.number <= 1)) continue;
    fail(ErrorCode::InvalidArgument, "--subject-to '{}': accuracies are shares from 0 to 1{}", text,
         made.number > 1 && made.number <= 100
             ? fmt::format("; write {} {} {}", made.metric, made.at_least ? ">=" : "<=", made.number / 100)
             : "");
  }
  if (!arguments.output.empty()) {
    result_folder(arguments).claim(/*force=*/true);  // a search that was stopped, or is asked more, goes on there
    options.log = std::filesystem::path(arguments.output) / "trials.jsonl";
  }
  return options;
}

/// The tasks that goal and constraints name, and those that are asked for besides. A metric may be given as its task is, by a
/// file; in `options` it then has the task's name.
std::vector<data::Task> search_tasks(const Arguments& arguments, search::SearchOptions& options) {
  auto tasks = load_tasks(arguments.tasks);
  const auto measure = [&](std::string& metric) {
    const auto known = std::ranges::find(tasks, metric, &data::Task::name);
    if (known != tasks.end()) return;
    data::Task task = data::load_task(metric);
    metric = task.name;
    if (const auto same = std::ranges::find(tasks, metric, &data::Task::name); same == tasks.end()) {
      tasks.push_back(std::move(task));
    } else if (same->file != task.file) {
      fail(ErrorCode::InvalidArgument, "two tasks are called '{}': {} and {}", metric, same->file.string(), task.file.string());
    }
  };
  for (std::string& metric : options.goal.metrics) measure(metric);
  for (search::Constraint& constraint : options.constraints) {
    const std::string given = constraint.metric;
    measure(constraint.metric);
    constraint.text.replace(constraint.text.find(given), given.size(), constraint.metric);
  }
  return tasks;
}

/// What `base` means in constraints, one rule everywhere: the source of that name, else the expression's base as the planner has
/// it.
std::string base_of(const Arguments& arguments, const eval::EditedClip& model) {
  if (!arguments.base.empty()) return arguments.base;
  for (const std::string& source : arguments.sources)
    if (source.starts_with("base=")) return "base";
  return model.layout().source_names.at(model.layout().base);
}

/// A word as a shell takes it.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_-./=:@+,").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// The command that writes the model, ready to paste.
std::string next_command(const Arguments& arguments, const std::vector<std::string>& names, const std::vector<double>& values) {
  std::string text = "taskvec edit " + quoted(arguments.expression);
  for (const std::string& source : arguments.sources) text += " -s " + quoted(source);
  for (const std::string& set : arguments.coefficients) text += " --set " + quoted(set);
  for (size_t i = 0; i < names.size(); ++i) text += fmt::format(" --set {}={}", names[i], values[i]);
  return text + arguments.bring.text() + " -o MODEL";
}

/// Writes the model at the coefficients that were chosen.
void write_model(const Arguments& arguments, const std::vector<std::string>& names, const std::vector<double>& values) {
  edit::PlanOptions options = arguments.bring.plan;
  options.coefficients = parse_coefficients(arguments.coefficients);
  for (size_t i = 0; i < names.size(); ++i) options.coefficients[names[i]] = values[i];
  if (arguments.mode == "standard") options.mode = edit::Mode::Standard;
  const auto expression = edit::parse(arguments.expression);
  const auto plan = edit::plan(expression, open_sources(arguments.sources, expression, arguments.bring), options);
  note_left_behind(*plan.sources[plan.base], formats::output_of(arguments.write));
  const edit::Summary summary = edit::run(plan, arguments.write);
  print_warnings(summary, /*saturated=*/false);
  if (!arguments.json) print("{}: {} tensors, written at these coefficients\n", arguments.write, summary.tensors);
}

/// A file of ordinary weights does not say how they were searched.
void note_meaning(const Arguments& arguments, const Meaning& meaning) {
  if (arguments.write.empty() || arguments.mode != "posthoc") return;
  warn(
      "{} scores so as a network linearised at {} (taskvec eval -m {} --mode posthoc --origin {}); as an ordinary network it "
      "scores otherwise",
      arguments.write, meaning.origin, quoted(arguments.write), quoted(meaning.origin));
}

void draw_curve(const Arguments& arguments, const search::SearchOptions& options, const search::SearchResult& result,
                const std::vector<data::Task>& tasks, const search::Metrics& reference) {
  constexpr size_t kMostTasks = 8;
  if (options.axes.size() != 1 || tasks.size() > kMostTasks) {
    note("no curve is drawn: it is one of one coefficient and at most {} tasks", kMostTasks);
    return;
  }
  report::LinePlot plot;
  plot.title = options.goal.text();
  plot.x_label = options.axes[0].name;
  plot.y_label = "accuracy on val";
  for (const search::Trial& trial : result.trials) plot.x.push_back(trial.coefficients[0]);
  if (!std::ranges::is_sorted(plot.x, std::ranges::less_equal{}) && plot.x.size() > 1) return;  // an axis in another order
  for (const data::Task& task : tasks) {
    for (const search::Constraint& constraint : options.constraints)
      if (constraint.metric == task.name)
        plot.levels.push_back({constraint.bound(reference), constraint.text, plot.series.size()});
    std::vector<double> y;
    for (const search::Trial& trial : result.trials) y.push_back(trial.metrics.at(task.name));
    plot.series.push_back({task.name, std::move(y)});
  }
  if (result.best) plot.chosen = result.trials[*result.best].coefficients[0];
  report::write_picture(std::filesystem::path(arguments.output) / "curve", plot);
}

void print_trials(const search::SearchOptions& options, const search::SearchResult& result,
                  const std::vector<data::Task>& tasks) {
  std::vector<std::string> head;
  for (const search::Axis& axis : options.axes) head.push_back(axis.name);
  for (const data::Task& task : tasks) head.push_back(task.name);
  if (!options.constraints.empty()) head.emplace_back("allowed");
  report::Table table(head, {}, options.axes.size());
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

ordered_json to_json(const Arguments& arguments, const search::SearchOptions& options, const eval::CoefficientSearch& found) {
  const search::SearchResult& result = found.result;
  const auto trial_json = [&](const search::Trial& trial) {
    ordered_json json;
    for (size_t a = 0; a < options.axes.size(); ++a) json["coefficients"][options.axes[a].name] = trial.coefficients[a];
    json["val"] = trial.metrics;
    json["feasible"] = trial.feasible();
    return json;
  };
  ordered_json json;
  json["expression"] = arguments.expression;
  std::map<std::string, std::string> sources;
  for (const std::string& source : arguments.sources)
    sources[source.substr(0, source.find('='))] = source.substr(source.find('=') + 1);
  json["sources"] = sources;
  json["limit"] = arguments.options.limit;
  for (const search::Axis& axis : options.axes) json["grid"][axis.name] = axis.values;
  json["goal"] = options.goal.text();
  for (const search::Constraint& constraint : options.constraints) json["constraints"].push_back(constraint.text);
  json["feasible"] = result.best.has_value();
  json[result.best ? "best" : "nearest"] = trial_json(result.trials[result.nearest]);
  json["base_val"] = found.reference;
  for (const auto& [name, value] : found.test) json["test"][name] = value.to_json();
  for (const auto& [name, value] : found.reference_test) json["base_test"][name] = value.to_json();
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
               const std::vector<data::Task>& tasks, const Meaning& meaning) {
  if (!evaluator.linear())
    fail(ErrorCode::InvalidArgument, "--solve needs the tangent space, where the loss is convex: --mode linear (or posthoc)");
  const auto sweep = eval::LinearSweep::make(model, evaluator, tasks, data::Split::Val);
  if (!sweep) fail(ErrorCode::InvalidArgument, "--solve needs weights that are affine in the coefficients, and one text encoder");
  const eval::ConvexSolution solution = eval::solve_coefficients(*sweep);
  const auto test = eval::evaluate_all(evaluator, model.apply(solution.coefficients), tasks, data::Split::Test);
  const auto test_reference = eval::evaluate_all(evaluator, reference.apply(), tasks, data::Split::Test);
  if (!arguments.write.empty()) {
    write_model(arguments, model.coefficients(), solution.coefficients);
    note_meaning(arguments, meaning);
  }
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
    print_result("search", json, meaning.about("val"));
    return;
  }
  report::Table table({"coefficient", "value"});
  for (size_t k = 0; k < solution.coefficients.size(); ++k)
    table.row({model.coefficients()[k], fmt::format("{:.4f}", solution.coefficients[k])});
  table.print();
  print("\nloss on val {:.4f}, {:.4f} with all at 0; at most {:.1e} above the least\n\n", solution.loss, solution.loss_at_zero,
        solution.gap);
  print_test(tasks, test_reference, test);
  print("on the test split, evaluated {}\n", meaning.text());
  if (arguments.write.empty()) print("\nnext: {}\n", next_command(arguments, model.coefficients(), solution.coefficients));
}

/// Before the first image is looked at: a search is not to end in an output that cannot be written.
void check_write(const Arguments& arguments) {
  namespace fs = std::filesystem;
  const fs::path output = arguments.write;
  std::error_code error;
  if (formats::output_of(output) == formats::Output::Npy)
    fail(ErrorCode::InvalidArgument, "--write {}: a .npy file holds one array; write a folder, .safetensors, .gguf or .npz",
         arguments.write);
  if (output.has_parent_path() && !fs::is_directory(output.parent_path(), error))
    fail(ErrorCode::Io, "--write {}: there is no folder {}; make it first (mkdir -p)", arguments.write,
         output.parent_path().string());
  if (!arguments.output.empty() && fs::weakly_canonical(output, error) == fs::weakly_canonical(arguments.output, error))
    fail(ErrorCode::InvalidArgument, "--write {}: -o keeps the search's own files there; give the model a folder of its own",
         arguments.write);
  check_output(arguments.write, arguments.force, open_sources(arguments.sources));
}

void run_search(const Arguments& arguments) {
  if (!arguments.write.empty()) check_write(arguments);
  search::SearchOptions options = search_options(arguments);
  const auto tasks = search_tasks(arguments, options);
  eval::EditedClip model =
      open_model(arguments.expression, arguments.sources, arguments.coefficients, arguments.device, arguments.bring);
  const std::string base = base_of(arguments, model);
  eval::EditedClip reference = open_model(base, arguments.sources, {}, arguments.device, arguments.bring);
  eval::EvalOptions quiet = arguments.options;
  quiet.progress = false;
  std::optional<Progress> progress;
  quiet.on_images = [&](int64_t images) {
    if (progress) progress->add(images);
  };
  eval::Evaluator evaluator(model.network(), model.folder(), quiet);
  keep_sweeps(evaluator, arguments.cache);
  const Meaning meaning = choose_mode(evaluator, model, arguments.mode, arguments.origin);

  if (arguments.solve) return run_solve(arguments, model, reference, evaluator, tasks, meaning);

  int64_t points = 1, images = 0;
  for (const search::Axis& axis : options.axes) points *= static_cast<int64_t>(axis.values.size());
  if (std::ranges::any_of(options.constraints, &search::Constraint::relative))
    note("in the constraints, base is the source '{}'", base);
  for (const data::Task& task : tasks) images += evaluator.images(task, data::Split::Val);
  note("searching {} points on {} images of the val split", points, images);
  // In the tangent space one pass serves all points; else each has one, and so has the reference.
  progress.emplace("searching", images * (evaluator.linear() ? 2 : points + 1), "images");
  const eval::CoefficientSearch found =
      eval::search_coefficients(model, reference, evaluator, tasks, options, [&] { progress.reset(); });
  const search::SearchResult& result = found.result;
  if (result.resumed > 0) note("{} of the points were known from {}", result.resumed, options.log.string());
  const search::Trial& chosen = result.trials[result.nearest];
  const auto json = to_json(arguments, options, found);
  auto about = meaning.about("val");
  about["base"] = base;
  if (!arguments.output.empty()) {
    ordered_json record = about;
    record.update(json);
    record["measured"] = found.measured;
    result_folder(arguments).write(record);
    draw_curve(arguments, options, result, tasks, found.reference);
  }
  if (result.best && !arguments.write.empty()) {
    write_model(arguments, model.coefficients(), found.coefficients);
    note_meaning(arguments, meaning);
  }
  if (arguments.json) {
    print_result("search", json, about);
  } else {
    print_trials(options, result, tasks);
    std::string at;
    for (size_t a = 0; a < options.axes.size(); ++a) {
      at += fmt::format("{}{} = {}", a ? ", " : "", options.axes[a].name, report::coefficient(chosen.coefficients[a]));
    }
    if (result.best) {
      print("\n{}: {} (chosen on val; on test:)\n", options.goal.text(), at);
      print_test(tasks, found.reference_test, found.test);
      if (meaning.mode == "linear") print("evaluated {}\n", meaning.text());
      if (arguments.write.empty()) print("\nnext: {}\n", next_command(arguments, model.coefficients(), found.coefficients));
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
      "'base' is the metric of the source of that name, else of the expression's base. With -o every trial is kept in "
      "trials.jsonl,\n"
      "and a search that was stopped goes on there; result.json and the curve are written, too. --write makes the model. Exit\n"
      "code 3: no point satisfies the constraints; the nearest is shown.\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("EXPR", arguments->expression, "the edit, with $coefficients")->required();
  command->add_option("-s,--source", arguments->sources, "a source of the expression: name=path")->required();
  command->add_option("--grid", arguments->axes, "values of a coefficient: a=0:1:0.05 or a=0.1,0.3");
  command->add_flag(
      "--solve", arguments->solve,
      "no grid: the coefficients that minimise the loss over the tasks of -t, in the tangent space, where it is convex");
  command->add_option("--maximize", arguments->maximize, "a task (a name or a .yaml file), or mean(task, ...)");
  command->add_option("--minimize", arguments->minimize, "a task (a name or a .yaml file), or mean(task, ...)");
  command->add_option("--subject-to", arguments->constraints, "'task >= 0.7' or 'task >= 0.95*base' (or <=); repeatable");
  command->add_option("-t,--task", arguments->tasks, "further tasks to measure");
  command->add_option("--set", arguments->coefficients, "the value of a coefficient that stays: name=number");
  command->add_option("--base", arguments->base,
                      "the source that 'base' means in constraints (default: the one of that name, else the expression's base)");
  command->add_option("-o,--output", arguments->output, "a folder for trials.jsonl, result.json and curve.png");
  command->add_option("--write", arguments->write,
                      "also write the model at the coefficients that were found: a folder or a file");
  command->add_flag("--force", arguments->force, "--write may replace a checkpoint that taskvec wrote");
  add_source_options(*command, arguments->bring);
  add_pass_options(*command, arguments->options);
  add_mode_options(*command, arguments->mode, arguments->origin);
  add_cache_option(*command, arguments->cache);
  add_device_option(*command, arguments->device);
  command->add_flag("--json", arguments->json, "the result as JSON");
  command->callback([=] { run_search(*arguments); });
}

}  // namespace taskvec::cli
