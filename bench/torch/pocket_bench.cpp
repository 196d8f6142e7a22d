// A fine-tuning step of the pocket CLIP, and a search beside the evaluations that it is made of.
#include "taskvec/bridge/device.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/eval/objective.h"
#include "taskvec/train/head.h"
#include "taskvec/train/optimiser.h"
#include "taskvec/train/step.h"

#include <benchmark/benchmark.h>

namespace taskvec {
namespace {

constexpr int64_t kImages = 1000;  // of the validation split, per point

models::ClipModel pocket() {
  bridge::configure_torch();
  return models::open_clip(assets_dir() / "pocket-clip");
}

/// From 8-bit pixels to updated weights; bench/step.py does the same in Python.
void finetune_step(benchmark::State& state) {
  const models::ClipModel model = pocket();
  const data::Task task = data::load_task("mnist");
  const data::Loader loader(data::open_dataset(task, data::Split::Train, 4096),
                            data::Preprocess::open(model.path, model.network.config().image_size));
  const at::Tensor head = train::zero_shot_head(model.network, model.params, model.path, task);
  const bridge::Params encoder =
      model.params.filter(models::Clip::is_image_encoder).map([](const std::string&, const at::Tensor& tensor) {
        return tensor.clone().requires_grad_();
      });
  train::AdamW optimiser(encoder, {.clip = 1.0});
  train::BatchOrder order(loader.size(), state.range(0), 0);
  int64_t step = 0;
  for (auto _ : state) {
    const auto batch = order.indices(step++);
    auto result =
        train::image_encoder_gradients(model.network, encoder, encoder, loader.images(batch), loader.labels(batch), head, 0);
    benchmark::DoNotOptimize(optimiser.step(std::move(result.grads), 1e-4));
  }
}
BENCHMARK(finetune_step)->Arg(128)->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(3);

/// Another point for every coefficient, without a fine-tuned model.
struct Points {
  Points() {
    bridge::configure_torch();
    const auto base = formats::open(assets_dir() / "pocket-clip");
    model = std::make_unique<eval::EditedClip>(edit::parse("base + $a*(other - base)"),
                                               edit::Bindings{{"base", base}, {"other", base}});
    eval::EvalOptions options{.progress = false};
    options.limit = kImages;
    evaluator = std::make_unique<eval::Evaluator>(model->network(), model->folder(), options);
    tasks = {data::load_task("mnist"), data::load_task("fashion-mnist")};
    evaluate(model->apply(std::array{0.5}));  // data sets and heads are made once
  }
  void evaluate(const bridge::Params& params) {
    benchmark::DoNotOptimize(eval::evaluate_all(*evaluator, params, tasks, data::Split::Val));
  }

  std::unique_ptr<eval::EditedClip> model;
  std::unique_ptr<eval::Evaluator> evaluator;
  std::vector<data::Task> tasks;
};

void evaluate_21_times(benchmark::State& state) {
  Points points;
  const bridge::Params& params = points.model->apply(std::array{0.5});
  for (auto _ : state)
    for (int i = 0; i < 21; ++i) points.evaluate(params);
}
BENCHMARK(evaluate_21_times)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(2);

void search_21_points(benchmark::State& state) {
  Points points;
  search::SearchOptions options;
  options.axes = {search::parse_axis("a=0:1:0.05")};
  options.goal = search::parse_goal("mnist", true);
  const auto objective = eval::make_objective(*points.model, *points.evaluator, points.tasks, data::Split::Val, options.axes);
  for (auto _ : state) benchmark::DoNotOptimize(search::grid_search(options, objective));
}
BENCHMARK(search_21_points)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(2);

}  // namespace
}  // namespace taskvec
