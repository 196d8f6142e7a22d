#include "taskvec/demo/demo.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/progress.h"
#include "taskvec/demo/study.h"
#include "taskvec/eval/task_vectors.h"
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
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

/// "t0", "t1", ...: how the expression calls the fine-tuned model of a task.
std::string source(const Study& study, const std::string& task) {
  for (size_t i = 0; i < study.tasks().size(); ++i) {
    if (study.tasks()[i].name == task) return "t" + std::to_string(i);
  }
  fail(ErrorCode::InvalidArgument, "no task '{}'", task);
}

double chosen(const search::SearchResult& result) { return result.trials[result.nearest].coefficients.front(); }

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
    eval::EditedClip model = study.edit(source(study, task.name));
    json[task.name] = study.accuracy(model, {}, task);
  }
  return json;
}

/// Names of the image encoder's deeper half: subtracted there, a task vector costs the control less than everywhere
/// (docs/results.md has both).
std::string deeper_half(const models::ClipConfig& config) {
  std::string layers;
  for (int64_t layer = config.vision.num_hidden_layers / 2; layer < config.vision.num_hidden_layers; ++layer)
    layers += fmt::format("{}{}", layers.empty() ? "" : ",", layer);
  return fmt::format("vision_model.encoder.layers.{{{}}}.*", layers);
}

/// base - a * (ft - base) in the deeper half: forgets the task and keeps the control.
Json negate(Study& study, const Json& zeroshot) {
  const data::Task& task = study.tasks().front();
  const std::string& control = study.control().name;
  const std::string tensors = deeper_half(study.base().network().config());
  eval::EditedClip model = study.edit(fmt::format("base - $a*({} - base) @ \"{}\"", source(study, task.name), tensors));
  const auto found = study.search(model, {task, study.control()}, task.name, false, study.options().keep);
  const double a = chosen(found);
  plot_coefficients(study.options().output / "negation.png", "Subtracting the " + task.name + " task vector", found,
                    {task.name, control}, study.options().keep * study.base_val().at(control), control);
  eval::EditedClip tuned = study.edit(source(study, task.name));
  plot_answers(study.options().output / "answers.png", study, task,
               {{"pre-trained", &study.base(), {}}, {"fine-tuned", &tuned, {}}, {"negated", &model, {a}}});
  return {{"task", task.name},
          {"tensors", tensors},
          {"coefficient", a},
          {"target", study.accuracy(model, {a}, task)},
          {"target_base", zeroshot[task.name]},
          {"control", study.accuracy(model, {a}, study.control())},
          {"control_base", zeroshot[control]},
          {"feasible", found.best.has_value()}};
}

/// base + a * sum(ft - base): one model for the first `count` tasks. Normalised: relative to each fine-tuned model on its task.
Json add(Study& study, size_t count, const Json& finetuned, const search::Metrics& finetuned_val) {
  std::string expression = "base", goal;
  std::vector<data::Task> tasks(study.tasks().begin(), study.tasks().begin() + static_cast<ptrdiff_t>(count));
  Json names = Json::array();
  for (const data::Task& task : tasks) {
    expression += fmt::format(" + $a*({} - base)", source(study, task.name));
    goal += (goal.empty() ? "" : ", ") + task.name;
    names.push_back(task.name);
  }
  eval::EditedClip model = study.edit(expression);
  const double a = chosen(study.search(model, tasks, "mean(" + goal + ")", true, 0, finetuned_val));
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
    eval::EditedClip model = study.edit(source(study, task.name));
    val[task.name] = study.val().evaluate(model.apply(), task).accuracy.value();
  }
  Json json = Json::array();
  for (size_t count = 2; count <= study.tasks().size(); ++count) json.push_back(add(study, count, finetuned, val));
  return json;
}

/// interpolate(base, ft, a): gets better at the task, keeps the control (PAINT).
Json patch(Study& study, const data::Task& task, const Json& zeroshot) {
  const std::string& control = study.control().name;
  eval::EditedClip model = study.edit(fmt::format("interpolate(base, {}, $a)", source(study, task.name)));
  const auto found = study.search(model, {task, study.control()}, task.name, true, study.options().patch_keep);
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

Json run_demo(const DemoOptions& options) {
  const Clock total;
  std::filesystem::create_directories(options.output);
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
  results["negation"] = timed("negation", [&] { return negate(study, results["zeroshot"]); });
  results["addition"] = timed("addition", [&] { return add_all(study, results["finetuned"]); });
  results["patch"] = timed("patch", [&] {
    Json json = Json::array();
    for (const data::Task& task : study.tasks()) json.push_back(patch(study, task, results["zeroshot"]));
    return json;
  });
  results["cosines"] = timed("cosines", [&] { return cosines(study); });
  seconds["finetune"] = per_task;
  Json all{{"total", total.seconds()}};
  all.update(seconds);
  results["seconds"] = all;
  results["settings"] = {{"control", study.control().name},
                         {"steps", options.steps},
                         {"seed", options.seed},
                         {"val_limit", options.val_limit},
                         {"test_limit", options.test_limit},
                         {"keep", options.keep},
                         {"patch_keep", options.patch_keep},
                         {"split", "test"}};
  write_file_atomically(options.output / "results.json", results.dump(1) + "\n");
  return results;
}

}  // namespace taskvec::demo
