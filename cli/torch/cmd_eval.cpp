#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/core/console.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/eval/linear_sweep.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string model, split = "test", device = "cpu", predictions, mode = "auto", origin;
  std::vector<std::string> tasks, sources, coefficients;
  eval::EvalOptions options;
  uint64_t cache = kSweepCache;
  SourceOptions bring;
  bool verbose = false, json = false, force = false;
};

std::string interval(const eval::Accuracy& accuracy) {
  return report::percent(accuracy.low()) + " to " + report::percent(accuracy.high());
}

void print_classes(const data::Task& task, const eval::TaskResult& result) {
  report::Table table({task.name, "accuracy", "95 % interval", "images"});
  for (size_t c = 0; c < task.classes.size(); ++c) {
    const eval::Accuracy& accuracy = result.per_class[c];
    table.row({task.classes[c], report::percent(accuracy.value()), interval(accuracy), std::to_string(accuracy.n)});
  }
  print("\n");
  table.print();
}

nlohmann::json to_json(const data::Task& task, const eval::TaskResult& result, bool verbose) {
  nlohmann::json json = result.to_json();
  if (!verbose) return json;
  for (size_t c = 0; c < task.classes.size(); ++c) {
    const eval::Accuracy& accuracy = result.per_class[c];
    json["per_class"][task.classes[c]] = {{"accuracy", accuracy.n > 0 ? nlohmann::json(accuracy.value()) : nlohmann::json()},
                                          {"ci95", {accuracy.low(), accuracy.high()}},
                                          {"n", accuracy.n}};
  }
  return json;
}

/// A line per image, in the order of the split.
std::string prediction_lines(const eval::TaskResult& result) {
  std::string lines;
  for (size_t i = 0; i < result.labels.size(); ++i) {
    const nlohmann::json line{{"task", result.task}, {"label", result.labels[i]}, {"prediction", result.predictions[i]}};
    lines += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return lines;
}

/// Whether every line of a file is one that --predictions writes.
bool holds_predictions(const std::filesystem::path& file) {
  constexpr size_t kLongest = 1 << 14;
  std::ifstream stream(file, std::ios::binary);
  std::string line;
  bool any = false;
  for (char c = 0; stream.get(c); any = true) {
    if (c != '\n') {
      if (line.push_back(c); line.size() > kLongest) return false;
      continue;
    }
    if (!line.starts_with("{\"label\":") || line.find(",\"prediction\":") == std::string::npos ||
        line.find(",\"task\":\"") == std::string::npos || !line.ends_with("}"))
      return false;
    line.clear();
  }
  return any && line.empty();
}

/// @throws Error{InvalidArgument} where predictions would replace what they did not write, or lie among a model's files
void check_predictions(const std::filesystem::path& file, bool force) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "run.json"})
    if (fs::exists(folder / name, error))
      fail(ErrorCode::InvalidArgument, "--predictions {}: the folder holds a model or a run ({}); write to another folder",
           file.string(), name);
  const auto there = fs::symlink_status(file, error);
  if (there.type() == fs::file_type::not_found) return;
  if (there.type() != fs::file_type::regular || !holds_predictions(file))
    fail(ErrorCode::InvalidArgument, "--predictions {}: something else is there, which is not replaced; choose another name",
         file.string());
  if (!force)
    fail(ErrorCode::InvalidArgument, "--predictions {}: there are earlier predictions; --force replaces them", file.string());
}

/// Of the linearised network, from what passes of searches and evaluations have left of the same sources; nothing where it is not
/// affine in the coefficients. @param model  its coefficients are open
std::optional<std::vector<eval::TaskResult>> sweep_results(eval::EditedClip& model, const Arguments& arguments,
                                                           eval::Evaluator& evaluator, const std::vector<data::Task>& tasks) {
  const auto sweep = eval::LinearSweep::make(model, evaluator, tasks, arguments.options.split);
  if (!sweep) return std::nullopt;
  const edit::CoefficientValues given = parse_coefficients(arguments.coefficients);
  std::vector<double> values;
  for (const std::string& name : model.coefficients()) values.push_back(given.at(name));
  std::vector<eval::TaskResult> results;
  for (size_t i = 0; i < tasks.size(); ++i) results.push_back(sweep->result(i, values));
  return results;
}

std::vector<eval::TaskResult> evaluate(const Arguments& arguments, const std::vector<data::Task>& tasks, Meaning& meaning) {
  const auto open = [&](const std::vector<std::string>& coefficients) {
    return open_model(arguments.model, arguments.sources, coefficients, arguments.device, arguments.bring);
  };
  eval::EditedClip model = open(arguments.coefficients);
  eval::Evaluator evaluator(model.network(), model.folder(), arguments.options);
  const bridge::Params& params = model.apply();
  meaning = choose_mode(evaluator, model, arguments.mode, arguments.origin);
  if (evaluator.linear()) {
    keep_sweeps(evaluator, arguments.cache);
    std::optional<eval::EditedClip> unset;  // only where there are coefficients: the same model once more
    if (!arguments.coefficients.empty()) unset.emplace(open({}));
    if (auto results = sweep_results(unset ? *unset : model, arguments, evaluator, tasks)) return std::move(*results);
  }
  std::vector<eval::TaskResult> results;
  for (const data::Task& task : tasks) results.push_back(evaluator.evaluate(params, task));
  return results;
}

void run_eval(Arguments& arguments) {
  if (!arguments.predictions.empty()) check_predictions(arguments.predictions, arguments.force);
  const auto tasks = load_tasks(arguments.tasks);
  arguments.options.split = parse_split(arguments.split);
  Meaning meaning;
  const std::vector<eval::TaskResult> results = evaluate(arguments, tasks, meaning);

  nlohmann::json all = nlohmann::json::object();
  report::Table table({"task", "accuracy", "95 % interval", "images", "split", "images/s"});
  for (size_t i = 0; i < tasks.size(); ++i) {
    const data::Task& task = tasks[i];
    const eval::TaskResult& result = results[i];
    all[task.name] = to_json(task, result, arguments.verbose);
    table.row({task.name, report::percent(result.accuracy.value()), interval(result.accuracy), std::to_string(result.accuracy.n),
               std::string(data::name(result.split)), fmt::format("{:.0f}", result.samples_per_second())});
  }
  if (!arguments.predictions.empty()) {
    std::string lines;
    for (const eval::TaskResult& result : results) lines += prediction_lines(result);
    write_file_atomically(arguments.predictions, lines);
  }
  if (arguments.json) {
    auto about = meaning.about(arguments.split);
    about["model"] = arguments.model;
    print_result("eval", all, about);
    return;
  }
  table.print();
  if (meaning.mode == "linear" || meaning.precision != bridge::Precision::Float32) print("evaluated {}\n", meaning.text());
  for (size_t i = 0; arguments.verbose && i < tasks.size(); ++i) print_classes(tasks[i], results[i]);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "eval",
      "Accuracy of a CLIP on tasks, with 95 % intervals\n\n"
      "  taskvec eval -m assets/pocket-clip -t mnist -t glyphs\n"
      "  taskvec eval -m 'base - 0.4*(ft - base)' -s base=assets/pocket-clip -s ft=runs/mnist -t mnist\n\n"
      "The model is a folder, or an expression over sources whose result is never written to disk. The classifier is zero-shot:\n"
      "made from the class names and templates of the task. Intervals are Wilson's.\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("-m,--model", arguments->model, "a CLIP folder, or an expression over the sources")->required();
  command->add_option("-t,--task", arguments->tasks, "built-in tasks (see 'taskvec tasks') or .yaml files")->required();
  command->add_option("-s,--source", arguments->sources, "a source of the expression: name=path");
  command->add_option("--set", arguments->coefficients, "the value of a coefficient: name=number");
  add_source_options(*command, arguments->bring);
  add_split_option(*command, arguments->split);
  add_pass_options(*command, arguments->options);
  add_mode_options(*command, arguments->mode, arguments->origin);
  add_cache_option(*command, arguments->cache);
  add_device_option(*command, arguments->device);
  command->add_option("--predictions", arguments->predictions, "write every image's label and prediction, a JSON line each");
  command->add_flag("--force", arguments->force, "replace earlier predictions");
  command->add_flag("-v,--verbose", arguments->verbose, "every class too");
  command->add_flag("--json", arguments->json, "{\"task\": {\"accuracy\": .., \"ci95\": [low, high], \"n\": .., ..}, ..}");
  command->callback([=] { run_eval(*arguments); });
}

}  // namespace taskvec::cli
