#include "taskvec/demo/demo.h"

#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/progress.h"
#include "taskvec/demo/study.h"
#include "taskvec/eval/task_vectors.h"
#include "taskvec/report/result_folder.h"
#include "taskvec/train/finetune.h"

#include <chrono>
#include <cstdio>

namespace taskvec::demo {
namespace {

using Json = nlohmann::ordered_json;

class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void say(const std::string& line) {
  note("{}", line);
  std::fflush(stderr);
}

Json zero_shot(Study& study) {
  Json json;
  json[study.control().name] = study.accuracy(study.base(), {}, study.control());
  for (const data::Task& task : study.tasks()) json[task.name] = study.accuracy(study.base(), {}, task);
  return json;
}

Json finetune_all(Study& study) {
  Json seconds;
  const DemoOptions& options = study.options();
  for (const data::Task& task : study.tasks()) {
    train::FinetuneOptions how;
    how.steps = options.steps;
    how.warmup = std::min(how.warmup, options.steps);
    how.seed = options.seed;
    how.device = options.device;
    how.precision = options.precision;
    const auto result = train::finetune(options.model, task, study.finetuned_path(task.name), how);
    seconds[task.name] = result.seconds;
    say(fmt::format("fine-tuned on {} in {}{}", task.name, format_seconds(result.seconds),
                    result.already_done ? " (was done)" : ""));
  }
  return seconds;
}

Json finetuned_accuracy(Study& study) {
  Json json;
  for (const data::Task& task : study.tasks()) {
    eval::EditedClip model = study.edit(study.source(task));
    json[task.name] = study.accuracy(model, {}, task);
  }
  return json;
}

/// base + a * sum(ft - base): one model for the first `count` tasks. Normalised: relative to each fine-tuned model on its task.
Json add(Study& study, size_t count, const Json& finetuned, const search::Metrics& finetuned_val) {
  std::string expression = "base", goal;
  std::vector<data::Task> tasks(study.tasks().begin(), study.tasks().begin() + static_cast<ptrdiff_t>(count));
  Json names = Json::array();
  for (const data::Task& task : tasks) {
    expression += fmt::format(" + $a*({} - base)", study.source(task));
    goal += (goal.empty() ? "" : ", ") + task.name;
    names.push_back(task.name);
  }
  eval::EditedClip model = study.edit(expression);
  const double a =
      chosen(study.search(model, study.val(), {.measured = tasks, .goal = "mean(" + goal + ")", .scale = &finetuned_val}));
  Json accuracy;
  double normalized = 0;
  for (const data::Task& task : tasks) {
    accuracy[task.name] = study.accuracy(model, {a}, task);
    normalized += accuracy[task.name].get<double>() / finetuned[task.name].get<double>() / static_cast<double>(count);
  }
  return {{"tasks", names}, {"coefficient", a}, {"accuracy", accuracy}, {"normalized", normalized}};
}

Json add_all(Study& study, const Json& finetuned) {
  search::Metrics val;
  for (const data::Task& task : study.tasks()) {
    eval::EditedClip model = study.edit(study.source(task));
    val[task.name] = study.val().evaluate(model.apply(), task).accuracy.value();
  }
  Json json = Json::array();
  for (size_t count = 2; count <= study.tasks().size(); ++count) json.push_back(add(study, count, finetuned, val));
  return json;
}

/// interpolate(base, ft, a): gets better at the task, keeps the control (PAINT).
Json patch(Study& study, const data::Task& task, const Json& zeroshot) {
  const std::string& control = study.control().name;
  eval::EditedClip model = study.edit(fmt::format("interpolate(base, {}, $a)", study.source(task)));
  const auto found = study.search(model, study.val(),
                                  {.measured = {task, study.control()}, .goal = task.name, .keep = study.options().patch_keep});
  const double a = chosen(found);
  plot_coefficients(study.options().output / ("patch-" + task.name + ".png"), "Patching with " + task.name, found,
                    {task.name, control}, study.options().patch_keep * study.base_val().at(control), control);
  return {{"task", task.name},
          {"coefficient", a},
          {"patched", study.accuracy(model, {a}, task)},
          {"patched_base", zeroshot[task.name]},
          {"supported", study.accuracy(model, {a}, study.control())},
          {"supported_base", zeroshot[control]},
          {"feasible", found.best.has_value()}};
}

Json cosines(Study& study) {
  std::vector<std::pair<std::string, bridge::Params>> models;
  Json names = Json::array();
  for (const data::Task& task : study.tasks()) {
    models.emplace_back(task.name, bridge::load(*formats::open(study.finetuned_path(task.name))));
    names.push_back(task.name);
  }
  const auto geometry = eval::task_vector_geometry(bridge::load(*formats::open(study.options().model)), models);
  plot_cosines(study.options().output / "cosines.png", geometry.names, geometry.cosines);
  return {{"tasks", names}, {"matrix", geometry.cosines}, {"norms", geometry.norms}};
}

}  // namespace

DemoOptions quick(DemoOptions options) {
  options.tasks.resize(1);
  options.steps = 60;
  options.linear_steps = 40;
  options.val_limit = 500;
  options.test_limit = 1000;
  return options;
}

Json run_demo(const DemoOptions& options) {
  const Clock total;
  const report::ResultFolder folder{options.output, "demo", "results.json", {}};
  folder.claim(/*force=*/true);  // a demonstration that was stopped, or is run again, goes on there
  Study study(options);
  Json results, seconds;
  const auto timed = [&](const char* name, auto&& part) {
    say(fmt::format("{} ...", name));
    const Clock clock;
    Json json = part();
    seconds[name] = clock.seconds();
    return json;
  };
  results["zeroshot"] = timed("zero-shot", [&] { return zero_shot(study); });
  const Json per_task = timed("finetune", [&] { return finetune_all(study); });
  results["finetuned"] = timed("evaluate", [&] { return finetuned_accuracy(study); });
  results["negation"] = timed("negation", [&] { return forget(study); });
  results["negation_linear"] = timed("negation in the tangent space", [&] { return forget_linear(study); });
  if (study.tasks().size() > 1) results["addition"] = timed("addition", [&] { return add_all(study, results["finetuned"]); });
  results["patch"] = timed("patch", [&] {
    Json json = Json::array();
    for (const data::Task& task : study.tasks()) json.push_back(patch(study, task, results["zeroshot"]));
    return json;
  });
  if (study.tasks().size() > 1) results["cosines"] = timed("cosines", [&] { return cosines(study); });
  seconds["finetune"] = per_task;
  Json all{{"total", total.seconds()}};
  all.update(seconds);
  results["seconds"] = all;
  results["settings"] = {{"control", study.control().name},
                         {"steps", options.steps},
                         {"linear_steps", options.linear_steps},
                         {"seed", options.seed},
                         {"device", options.device},
                         {"precision", bridge::name(options.precision)},
                         {"val_limit", options.val_limit},
                         {"test_limit", options.test_limit},
                         {"keep", options.keep},
                         {"patch_keep", options.patch_keep},
                         {"split", "test"}};
  return folder.write(results);
}

}  // namespace taskvec::demo
