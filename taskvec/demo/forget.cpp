#include "taskvec/bridge/device.h"
#include "taskvec/demo/study.h"
#include "taskvec/train/finetune.h"

namespace taskvec::demo {
namespace {

using Json = nlohmann::ordered_json;

/// Names of the image encoder's deeper half: subtracted there, a task vector costs the control less than everywhere
/// (docs/results.md has both).
std::string deeper_half(const models::ClipConfig& config) {
  std::string layers;
  for (int64_t layer = config.vision.num_hidden_layers / 2; layer < config.vision.num_hidden_layers; ++layer)
    layers += fmt::format("{}{}", layers.empty() ? "" : ",", layer);
  return fmt::format("vision_model.encoder.layers.{{{}}}.*", layers);
}

/// The choice on val and, after it, the one look at test.
/// @param val, test  evaluators of the network or of its linearisation, which are the same at the base
/// @param picture    of the search
Json search_and_test(Study& study, eval::EditedClip& model, eval::Evaluator& val, eval::Evaluator& test, const std::string& grid,
                     const std::string& picture, const std::string& title) {
  const data::Task& task = study.tasks().front();
  const data::Task& control = study.control();
  const double keep = study.options().keep;
  const auto found =
      study.search(model, val, {.measured = {task, control}, .goal = task.name, .maximize = false, .keep = keep, .grid = grid});
  plot_coefficients(study.options().output / picture, title, found, {task.name, control.name},
                    keep * study.base_val().at(control.name), control.name);
  const search::Metrics& on_val = found.trials[found.nearest].metrics;
  const std::vector<double> at{chosen(found)};
  const auto on_test = [&](const data::Task& what) { return test.evaluate(model.apply(at), what).accuracy.value(); };
  const auto base = [&](const data::Task& what) { return study.accuracy(study.base(), {}, what); };
  return {{"task", task.name},
          {"coefficient", at.front()},
          {"target", on_test(task)},
          {"target_base", base(task)},
          {"control", on_test(control)},
          {"control_base", base(control)},
          {"val",
           {{"target", on_val.at(task.name)},
            {"target_base", study.base_val().at(task.name)},
            {"control", on_val.at(control.name)},
            {"control_base", study.base_val().at(control.name)}}},
          {"feasible", found.best.has_value()}};
}

}  // namespace

Json forget(Study& study) {
  const data::Task& task = study.tasks().front();
  const std::string tensors = deeper_half(study.base().network().config());
  eval::EditedClip model = study.edit(fmt::format("base - $a*({} - base) @ \"{}\"", study.source(task), tensors));
  Json json = search_and_test(study, model, study.val(), study.test(), "a=0:1:0.05", "negation.png",
                              "Subtracting the " + task.name + " task vector");
  json["tensors"] = tensors;
  eval::EditedClip tuned = study.edit(study.source(task));
  plot_answers(study.options().output / "answers.png", study, task,
               {{"pre-trained", &study.base(), {}}, {"fine-tuned", &tuned, {}}, {"negated", &model, {json["coefficient"]}}});
  return json;
}

Json forget_linear(Study& study) {
  const data::Task& task = study.tasks().front();
  train::FinetuneOptions how;
  how.mode = train::Mode::Linear;
  how.penalty_tasks = {study.control()};
  how.steps = study.options().linear_steps;
  how.warmup = std::min(how.warmup, how.steps);
  how.seed = study.options().seed;
  how.device = study.options().device;
  how.precision = study.options().precision;
  const auto tuned = study.finetuned_path(task.name + "-linear");
  train::finetune(study.options().model, task, tuned, how);

  eval::EditedClip model(edit::parse("base - $a*(ft - base)"),
                         edit::Bindings{{"base", formats::open(study.options().model)}, {"ft", formats::open(tuned)}}, {},
                         bridge::parse_device(how.device));
  const auto val = study.linearised(data::Split::Val), test = study.linearised(data::Split::Test);
  // Points cost nothing here, and a vector that leaves the control alone can be subtracted several times.
  Json json = search_and_test(study, model, *val, *test, "a=0:8:0.02", "forgetting.png",
                              "Subtracting the " + task.name + " task vector in the tangent space");
  json["steps"] = how.steps;
  json["penalty"] = how.penalty;
  return json;
}

}  // namespace taskvec::demo
