#include "taskvec/train/pretrain.h"

#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/core/progress.h"
#include "taskvec/core/version.h"
#include "taskvec/data/dataset.h"
#include "taskvec/train/augment.h"
#include "taskvec/train/head.h"
#include "taskvec/train/identity.h"
#include "taskvec/train/optimiser.h"
#include "taskvec/train/prompts.h"
#include "taskvec/train/run_folder.h"
#include "taskvec/train/step.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

namespace taskvec::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// exp(logit_scale) above 100 makes the loss brittle; CLIP clips it there (Radford et al. 2021, 2.5).
constexpr double kMaxLogitScale = 4.605170185988092;
constexpr int64_t kSnapshotEvery = 200;

void check(const PretrainOptions& o) {
  const auto require = [](bool good, const char* what) {
    if (!good) fail(ErrorCode::InvalidArgument, "pre-training: {}", what);
  };
  require(o.steps >= 1 && o.batch >= 1 && o.batch <= 1 << 20, "steps and batch are 1 or more");
  require(o.warmup >= 0 && o.warmup <= o.steps, "warmup is 0 to the number of steps");
  require(std::isfinite(o.learning_rate) && o.learning_rate > 0, "the learning rate is a number above 0");
  require(std::isfinite(o.weight_decay) && o.weight_decay >= 0 && o.clip >= 0, "weight decay and clip are 0 or more");
  require(o.merges >= 0 && o.merges <= 100'000, "merges are 0 to 100000");
  require(o.augment >= 0 && o.augment <= 2, "the strength of the random maps is 0 to 2");
  require(o.train_images >= 0, "the limit of train images is 0 (all) or more");
}

json preprocessor_config(const models::ClipConfig& config) {
  const json side = {{"height", config.image_size}, {"width", config.image_size}};
  return {{"image_processor_type", "CLIPImageProcessor"},
          {"do_convert_rgb", true},
          {"do_resize", true},
          {"size", {{"shortest_edge", config.image_size}}},
          {"resample", 3},
          {"do_center_crop", true},
          {"crop_size", side},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255},
          {"do_normalize", true},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}}};
}

std::vector<std::string> texts_of(const data::Task& task) {
  std::vector<std::string> texts;
  for (const std::string& name : task.classes) texts.push_back(prompt(task.templates.front(), name));
  return texts;
}

at::Tensor normalised(const at::Tensor& features) { return features / features.norm(2, {-1}, /*keepdim=*/true); }

AugmentOptions scaled(double strength) {
  AugmentOptions o;
  for (double* range : {&o.rotation, &o.shear, &o.scale, &o.aspect, &o.shift, &o.elastic}) *range *= strength;
  return o;
}

/// Everything that a step needs and that does not change while training.
struct Job {
  const models::Clip& network;
  const data::Loader& loader;
  at::Tensor ids;  ///< [classes, length], every class name, on the device that computes
  const PretrainOptions& options;
  RunFolder& run;
};

/// Cross entropy of every image of a batch against all class names.
Gradients gradients(const Job& job, const bridge::Params& params, std::span<const int64_t> batch, int64_t step) {
  const at::AutoGradMode on(true);
  const uint64_t seed = job.options.seed;
  const at::Device device = job.ids.device();
  const at::Tensor pixels =
      augment(job.loader.pixels(batch), scaled(job.options.augment), seed, step * job.options.batch).to(device);
  const at::Tensor images = normalised(job.network.image_features(params, job.loader.preprocess().normalise(pixels)));
  const at::Tensor texts = normalised(job.network.text_features(params, job.ids));
  const at::Tensor logits = params.at("logit_scale").exp() * at::matmul(images, texts.t());
  const at::Tensor loss = at::cross_entropy_loss(logits, job.loader.labels(batch).to(device));
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : params) tensors.push_back(tensor);
  return {loss.item<double>(), torch::autograd::grad({loss}, tensors)};
}

bridge::Params with_state(const bridge::Params& params, const AdamW& optimiser) {
  bridge::Params all = params;
  for (const auto& [name, tensor] : optimiser.state()) all.add(name, tensor);
  return all;
}

void train(const Job& job, const bridge::Params& params, const std::map<std::string, std::string>& metadata) {
  const PretrainOptions& o = job.options;
  AdamW optimiser(params, {.weight_decay = o.weight_decay, .clip = o.clip});
  int64_t step = 0;
  if (const auto snapshot = job.run.resume()) {
    const at::NoGradGuard no_grad;
    job.run.check_snapshot(*snapshot, with_state(params, optimiser));
    for (const auto& [name, tensor] : params) tensor.copy_(snapshot->state.at(name));
    optimiser.restore(snapshot->state);
    step = snapshot->step;
    note("{}: going on behind step {} of {}", job.run.path().string(), step, o.steps);
  }
  Progress progress("pre-training", o.steps, "steps");
  progress.add(step);
  BatchOrder order(job.loader.size(), o.batch, o.seed);
  double last = 0;
  const HoldInterrupts whole_steps;
  while (step < o.steps) {
    if (const int signal = interrupt_signal(); signal != 0) {
      if (step > 0) job.run.snapshot(step, with_state(params, optimiser));
      throw Interrupted(signal, fmt::format(" at step {} of {}; the same command{} goes on from there", step, o.steps,
                                            o.force ? " without --force" : ""));
    }
    Gradients result = gradients(job, params, order.indices(step), step);
    const double rate = cosine_schedule(o.learning_rate, step, o.steps, o.warmup);
    const double norm = optimiser.step(std::move(result.grads), rate);
    if (!std::isfinite(result.loss) || !std::isfinite(norm)) {
      fail(ErrorCode::Numeric, "pre-training: step {}: the loss is {}; try a lower learning rate than {}", step + 1, result.loss,
           o.learning_rate);
    }
    {
      const at::NoGradGuard no_grad;
      params.at("logit_scale").clamp_max_(kMaxLogitScale);
    }
    ++step;
    last = result.loss;
    job.run.record({{"step", step}, {"loss", result.loss}, {"lr", rate}, {"grad_norm", norm}});
    if (step % kSnapshotEvery == 0 && step < o.steps) job.run.snapshot(step, with_state(params, optimiser));
    progress.note(fmt::format("loss {:.3f}", result.loss));
    progress.add(1);
  }
  const at::NoGradGuard no_grad;
  const bridge::Params trained = params.map([](const std::string&, const at::Tensor& tensor) { return tensor.detach().cpu(); });
  job.run.finish(trained, metadata, nullptr, {{"final_loss", last}, {"steps", o.steps}});
}

}  // namespace

models::ClipConfig pocket_config() {
  models::ClipConfig config;
  config.vision = {.hidden_size = 128, .intermediate_size = 480, .num_hidden_layers = 4, .num_attention_heads = 4};
  config.text = {.hidden_size = 64, .intermediate_size = 256, .num_hidden_layers = 2, .num_attention_heads = 2};
  config.image_size = 28;
  config.patch_size = 7;
  config.max_position_embeddings = 32;
  config.projection_dim = 128;
  return config;
}

void pretrain(const models::ClipConfig& given, const data::Task& task, const fs::path& output, const PretrainOptions& options) {
  check(options);
  bridge::configure_torch();
  const at::Device device = bridge::parse_device(options.device);
  const auto dataset = data::open_dataset(task, data::Split::Train, options.train_images);
  const json asked = {{"command", "pretrain"},
                      {"network", given.to_json()},
                      {"task", task_identity(task, *dataset)},
                      {"split", data::name(data::Split::Train)},
                      {"steps", options.steps},
                      {"batch", options.batch},
                      {"warmup", options.warmup},
                      {"learning_rate", options.learning_rate},
                      {"weight_decay", options.weight_decay},
                      {"clip", options.clip},
                      {"merges", options.merges},
                      {"augment", options.augment},
                      {"seed", options.seed}};
  RunFolder run(output, asked, {{"images", dataset->size()}}, options.force);
  if (run.result()) return;

  const fs::path& work = run.work();
  const auto texts = texts_of(task);
  models::ClipConfig config = given;
  config.vocab_size = text::train_clip_tokenizer(texts, options.merges, config.max_position_embeddings, work);
  const auto tokenizer = text::ClipTokenizer::open(work);
  config.bos_token_id = tokenizer.bos_token_id();
  config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id();
  write_file_atomically(work / "config.json", config.to_json().dump(2) + "\n");
  write_file_atomically(work / "preprocessor_config.json", preprocessor_config(config).dump(2) + "\n");

  const models::Clip network(config);
  const bridge::Params params = network.initialise(options.seed).map([&](const std::string&, const at::Tensor& tensor) {
    return tensor.detach().to(device, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true).requires_grad_();
  });
  const data::Loader loader(dataset, data::Preprocess::open(work, config.image_size));
  const at::Tensor ids = encode_prompts(tokenizer, texts, config.max_position_embeddings).to(device);
  train({network, loader, ids, options, run}, params,
        {{"taskvec.command", "pretrain"},
         {"taskvec.version", std::string(version())},
         {"taskvec.task", task.name},
         {"taskvec.seed", std::to_string(options.seed)},
         {"taskvec.steps", std::to_string(options.steps)}});
}

}  // namespace taskvec::train
