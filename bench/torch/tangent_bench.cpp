// A step of linear fine-tuning beside the standard one, from pixels to updated weights; bench/linear_step.py does both in Python.
#include "taskvec/bridge/device.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/tangent/affine.h"
#include "taskvec/train/head.h"
#include "taskvec/train/optimiser.h"
#include "taskvec/train/step.h"

#include <benchmark/benchmark.h>

namespace taskvec {
namespace {

constexpr int64_t kClasses = 10;

models::ClipConfig vit_b32() {
  models::ClipConfig config;
  config.vision = {.hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12, .num_attention_heads = 12};
  config.text = {.hidden_size = 64, .intermediate_size = 128, .num_hidden_layers = 1, .num_attention_heads = 1};  // not used
  return config;
}

struct Training {
  models::Clip network;
  bridge::Params origin, encoder;
  at::Tensor pixels, labels, head;

  Training(models::Clip clip, const bridge::Params& params, int64_t batch)
      : network(std::move(clip)),
        origin(params.filter(models::Clip::is_image_encoder)),
        encoder(origin.map([](const std::string&, const at::Tensor& tensor) { return tensor.clone().requires_grad_(); })),
        pixels(at::randn({batch, 3, network.config().image_size, network.config().image_size})),
        labels(at::arange(batch) % kClasses),
        head(at::randn({network.config().projection_dim, kClasses})) {}
};

Training pocket() {
  bridge::configure_torch();
  const models::ClipModel model = models::open_clip(assets_dir() / "pocket-clip");
  return {model.network, model.params, 256};
}

Training large() {
  bridge::configure_torch();
  const models::Clip clip(vit_b32());
  return {clip, clip.initialise(0), 8};
}

void standard_step(benchmark::State& state, Training (*make)()) {
  const Training t = make();
  train::AdamW optimiser(t.encoder, {.clip = 1.0});
  for (auto _ : state) {
    auto result = train::image_encoder_gradients(t.network, t.encoder, t.encoder, t.pixels, t.labels, t.head, 0);
    benchmark::DoNotOptimize(optimiser.step(std::move(result.grads), 1e-5));
  }
}

void linear_step(benchmark::State& state, Training (*make)()) {
  const Training t = make();
  const tangent::Linearized network = tangent::image_encoder(t.network, t.origin);
  train::AdamW optimiser(t.encoder, {.clip = 1.0});
  for (auto _ : state) {
    const bridge::Params tau = t.encoder.map(
        [&](const std::string& name, const at::Tensor& tensor) { return tensor.detach() - network.origin().at(name); });
    auto result = train::linear_gradients(network, tau, t.pixels, t.labels, t.head, 0);
    benchmark::DoNotOptimize(optimiser.step(std::move(result.grads), 1e-5));
  }
}

void plain_pass(benchmark::State& state) {
  const Training t = pocket();
  const c10::InferenceMode inference;
  for (auto _ : state) benchmark::DoNotOptimize(train::classify(t.network.image_features(t.origin, t.pixels), t.head).argmax(1));
}

/// A sweep over a batch: the primal, a tangent per vector, and the answers at every point of a grid.
void sweep_pass(benchmark::State& state) {
  const Training t = pocket();
  const c10::InferenceMode inference;
  const tangent::Linearized network = tangent::image_encoder(t.network, t.origin);
  const auto vectors = static_cast<size_t>(state.range(0));
  const std::vector<bridge::Params> directions(
      vectors, t.origin.map([](const std::string&, const at::Tensor& tensor) { return at::randn_like(tensor) * 0.01; }));
  for (auto _ : state) {
    const tangent::AffineOutputs outputs(network.jvp(directions, t.pixels));
    for (int64_t point = 0; point < state.range(1); ++point) {
      const std::vector<double> alpha(vectors, static_cast<double>(point) / static_cast<double>(state.range(1)));
      benchmark::DoNotOptimize(train::classify(outputs.at(alpha), t.head).argmax(1));
    }
  }
}

BENCHMARK_CAPTURE(standard_step, pocket, pocket)->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(2);
BENCHMARK_CAPTURE(linear_step, pocket, pocket)->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(2);
BENCHMARK_CAPTURE(standard_step, vit_b32, large)->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(4);
BENCHMARK_CAPTURE(linear_step, vit_b32, large)->Unit(benchmark::kMillisecond)->UseRealTime()->MinTime(4);
BENCHMARK(plain_pass)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(sweep_pass)
    ->ArgNames({"vectors", "points"})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Args({1, 1})
    ->ArgsProduct({{1, 2, 5}, {21}})
    ->Args({2, 441})
    ->Args({5, 32});

}  // namespace
}  // namespace taskvec
