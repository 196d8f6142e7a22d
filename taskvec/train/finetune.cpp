#include "taskvec/train/finetune.h"

#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/core/progress.h"
#include "taskvec/core/version.h"
#include "taskvec/data/ahead.h"
#include "taskvec/formats/folders/replaceable.h"
#include "taskvec/train/head.h"
#include "taskvec/train/identity.h"
#include "taskvec/train/moves.h"
#include "taskvec/train/optimiser.h"
#include "taskvec/train/run_folder.h"
#include "taskvec/train/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace taskvec::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void check(const FinetuneOptions& o) {
  const auto require = [](bool good, const char* what, const auto& got, const char* wanted) {
    if (!good) fail(ErrorCode::InvalidArgument, "fine-tuning: {} is {}, expected {}", what, got, wanted);
  };
  require(o.steps >= 1 && o.steps <= 100'000'000, "steps", o.steps, "1 to 100000000");
  require(o.batch >= 1 && o.batch <= 1 << 20, "batch", o.batch, "1 to 1048576");
  require(o.warmup >= 0 && o.warmup <= o.steps, "warmup", o.warmup, "0 to the number of steps");
  require(std::isfinite(o.learning_rate) && o.learning_rate > 0, "learning rate", o.learning_rate, "a number above 0");
  require(std::isfinite(o.weight_decay) && o.weight_decay >= 0, "weight decay", o.weight_decay, "0 or more");
  require(std::isfinite(o.clip) && o.clip >= 0, "clip", o.clip, "0 (off) or more");
  require(o.label_smoothing >= 0 && o.label_smoothing < 1, "label smoothing", o.label_smoothing, "0 to below 1");
  require(o.save_steps >= 0, "save steps", o.save_steps, "0 (none) or more");
  require(std::isfinite(o.penalty) && o.penalty > 0, "weight of the penalty", o.penalty, "a number above 0");
  if (!o.penalty_tasks.empty() && o.mode != Mode::Linear)
    fail(ErrorCode::InvalidArgument, "the penalty of J τ belongs to the tangent space: --mode linear");
  require(o.lora >= 0, "rank of adapters", o.lora, "0 (none) or more");
  require(o.micro_batch >= 0 && o.micro_batch <= o.batch, "micro batch", o.micro_batch, "0 (all at once) to the batch");
  require(o.resume_every >= 1, "steps between snapshots", o.resume_every, "1 or more");
}

using Datasets = std::vector<std::shared_ptr<const data::Dataset>>;

/// @param others  of the tasks of the penalty
json asked(const models::ClipModel& model, const data::Task& task, const data::Dataset& data, const Datasets& others,
           const FinetuneOptions& o) {
  json asked = {{"command", "finetune"},
                {"weights", model.checkpoint->fingerprint()},
                {"model", folder_identity(model.network, model.path)},
                {"task", task_identity(task, data)},
                {"split", data::name(data::Split::Train)},
                {"steps", o.steps},
                {"batch", o.batch},
                {"warmup", o.warmup},
                {"learning_rate", o.learning_rate},
                {"weight_decay", o.weight_decay},
                {"clip", o.clip},
                {"label_smoothing", o.label_smoothing},
                {"seed", o.seed},
                {"save_steps", o.save_steps}};
  if (o.mode != Mode::Standard) asked["mode"] = name(o.mode);
  if (o.only != "*") asked["only"] = o.only;
  if (o.lora != 0) asked["lora"] = o.lora;
  if (o.from_random) asked["from_random"] = *o.from_random;
  if (o.precision != bridge::Precision::Float32) asked["precision"] = bridge::name(o.precision);
  if (o.micro_batch != 0 && o.micro_batch != o.batch) asked["micro_batch"] = o.micro_batch;  // another order of sums
  for (const auto& other : others) asked["penalty_data"].push_back(other->fingerprint());
  if (!others.empty()) asked["penalty"] = o.penalty;
  return asked;
}

std::map<std::string, std::string> provenance(const models::ClipModel& model, const data::Task& task, const FinetuneOptions& o,
                                              int64_t step) {
  return {{"taskvec.command", "finetune"},
          {"taskvec.version", std::string(version())},
          {"taskvec.finetuned_from", model.checkpoint->fingerprint()},
          {"taskvec.mode", std::string(name(o.mode))},
          {"taskvec.task", task.name},
          {"taskvec.seed", std::to_string(o.seed)},
          {"taskvec.steps", std::to_string(step)}};
}

/// The image encoder in float32.
bridge::Params image_encoder(const bridge::Params& params, at::Device device) {
  return params.filter(models::Clip::is_image_encoder).map([&](const std::string&, const at::Tensor& tensor) {
    return tensor.to(device, at::kFloat);
  });
}

struct Batch {
  at::Tensor pixels, labels;
  at::Tensor others;  // pixels of another task for the penalty; undefined without one

  Batch part(int64_t begin, int64_t end) const {
    return {pixels.slice(0, begin, end), labels.slice(0, begin, end), others.defined() ? others.slice(0, begin, end) : others};
  }
};

/// The gradients of a batch at a point of weight space, for the leaves of what moves.
using Step = std::function<Gradients(const Batch& batch)>;

Step make_step(const models::ClipModel& model, const bridge::Params& origin, const Moves& moves, const at::Tensor& head,
               const FinetuneOptions& o) {
  if (o.mode == Mode::Standard) {
    return [&, head](const Batch& batch) {
      return image_encoder_gradients(model.network, moves.weights(), moves.leaves(), batch.pixels, batch.labels, head,
                                     o.label_smoothing);
    };
  }
  return [&, head, network = tangent::image_encoder(model.network, origin)](const Batch& batch) {
    const bridge::Params tau = moves.displacement();
    Gradients result = linear_gradients(network, tau, batch.pixels, batch.labels, head, o.label_smoothing);
    if (batch.others.defined()) {
      const Gradients penalty = jvp_penalty(network, tau, batch.others, o.penalty);
      result.loss += penalty.loss;
      for (size_t i = 0; i < result.grads.size(); ++i) result.grads[i] = result.grads[i] + penalty.grads[i];
    }
    result.grads = moves.pull_back(std::move(result.grads));
    return result;
  };
}

/// The mean over a batch from parts of at most `most` images: memory is that of a part.
Step in_parts(const Step& step, int64_t most) {
  return [=](const Batch& batch) {
    const int64_t images = batch.labels.size(0);
    Gradients sum;
    for (int64_t begin = 0; begin < images; begin += most) {
      const int64_t end = std::min(begin + most, images);
      Gradients part = step(batch.part(begin, end));
      const double share = static_cast<double>(end - begin) / static_cast<double>(images);
      sum.loss += share * part.loss;
      if (begin == 0) {
        for (at::Tensor& grad : part.grads) grad = grad * share;
        sum.grads = std::move(part.grads);
      } else {
        for (size_t i = 0; i < sum.grads.size(); ++i) sum.grads[i].add_(part.grads[i], share);
      }
    }
    return sum;
  };
}

/// Batches of the tasks of the penalty, one task after the other.
class OtherBatches {
 public:
  OtherBatches(const Datasets& datasets, const data::Preprocess& preprocess, const FinetuneOptions& o) {
    for (const auto& dataset : datasets) {
      loaders_.emplace_back(dataset, preprocess);
      orders_.emplace_back(loaders_.back().size(), o.batch, o.seed);
    }
  }
  /// Undefined where there are no such tasks.
  at::Tensor pixels(int64_t step, const at::Device& device) {
    if (loaders_.empty()) return {};
    const auto count = static_cast<int64_t>(loaders_.size());
    const auto which = static_cast<size_t>(step % count);
    return loaders_[which].images(orders_[which].indices(step / count), device);
  }

 private:
  std::vector<data::Loader> loaders_;
  std::vector<BatchOrder> orders_;
};

/// What goes to disk: the trained tensors in the dtypes that the model came in.
bridge::Params stored(const bridge::Params& encoder, const bridge::Params& original, const fs::path& folder) {
  return encoder.map([&](const std::string& name, const at::Tensor& tensor) {
    const at::Tensor result = tensor.detach().cpu().to(original.at(name).scalar_type());
    if (!result.isfinite().all().item<bool>()) {
      fail(ErrorCode::Numeric, "{}: tensor '{}' is not finite after training in {}; try a lower learning rate", folder.string(),
           name, c10::toString(result.scalar_type()));
    }
    return result;
  });
}

bridge::Params with_state(const bridge::Params& leaves, const AdamW& optimiser) {
  bridge::Params all = leaves;
  for (const auto& [name, tensor] : optimiser.state()) all.add(name, tensor);
  return all;
}

void check_finite(double loss, double norm, int64_t step, const FinetuneOptions& options) {
  if (std::isfinite(loss) && std::isfinite(norm)) return;
  fail(ErrorCode::Numeric,
       "fine-tuning: step {} of {}: the loss is {} and the gradient's norm {}; the learning rate {} is probably too high: start "
       "anew "
       "with a lower one and --force",
       step, options.steps, loss, norm, options.learning_rate);
}

/// The model with an image encoder that is initialised from a seed, written to `folder` unless it is there.
models::ClipModel random_origin(const models::ClipModel& model, uint64_t seed, const fs::path& folder) {
  if (!fs::exists(folder / "model.safetensors")) {
    const bridge::Params fresh = model.network.initialise(seed).filter(models::Clip::is_image_encoder);
    bridge::save(fresh.map([&](const std::string& name, const at::Tensor& tensor) {
      return tensor.to(model.params.at(name).scalar_type());
    }),
                 folder,
                 {{"taskvec.command", "finetune --from-random"},
                  {"taskvec.version", std::string(version())},
                  {"taskvec.seed", std::to_string(seed)},
                  {"taskvec.initialised_in_place_of", model.checkpoint->fingerprint()}},
                 model.checkpoint.get());
  }
  return models::open_clip(folder);
}

double mean_of_last(const std::vector<json>& metrics, size_t count) {
  const size_t n = std::min(count, metrics.size());
  double sum = 0;
  for (size_t i = metrics.size() - n; i < metrics.size(); ++i) sum += metrics[i].value("loss", 0.0);
  return n == 0 ? 0 : sum / static_cast<double>(n);
}

/// Everything that a step needs and that does not change while training.
struct Job {
  const models::ClipModel& model;
  const data::Task& task;
  const data::Loader& loader;
  const Datasets& others;  // of the tasks of the penalty
  const FinetuneOptions& options;
  RunFolder& run;
};

void train(const Job& job) {
  const FinetuneOptions& o = job.options;
  const at::Device device = bridge::parse_device(o.device);
  bridge::use_precision(o.precision, device);
  const at::Tensor head = zero_shot_head(job.model.network, job.model.params, job.model.path, job.task).to(device);
  const bridge::Params origin = image_encoder(job.model.params, device);
  const Moves moves(origin, {.only = o.only, .rank = o.lora, .linear = o.mode == Mode::Linear, .seed = o.seed});
  const Step whole = make_step(job.model, origin, moves, head, o);
  const Step gradients = o.micro_batch == 0 || o.micro_batch == o.batch ? whole : in_parts(whole, o.micro_batch);
  AdamW optimiser(moves.leaves(), {.weight_decay = o.weight_decay, .clip = o.clip});

  int64_t step = 0;
  if (const auto snapshot = job.run.resume()) {
    const at::NoGradGuard no_grad;
    job.run.check_snapshot(*snapshot, with_state(moves.leaves(), optimiser));
    for (const auto& [name, tensor] : moves.leaves()) tensor.copy_(snapshot->state.at(name));
    optimiser.restore(snapshot->state);
    step = snapshot->step;
    note("{}: going on behind step {} of {}", job.run.path().string(), step, o.steps);
  }

  std::optional<Progress> progress;
  if (!o.quiet) progress.emplace("fine-tuning on " + job.task.name, o.steps, "steps");
  if (progress && step > 0) progress->add(step);
  BatchOrder order(job.loader.size(), o.batch, o.seed);
  OtherBatches others(job.others, job.loader.preprocess(), o);
  const at::ScalarType type = bridge::compute_dtype(o.precision);
  data::Ahead<Batch> batches(step, o.steps, !device.is_cpu(), [&](int64_t i) {
    const std::vector<int64_t> indices = order.indices(i);
    const at::Tensor unlabelled = others.pixels(i, device);
    return Batch{job.loader.images(indices, device).to(type), job.loader.labels(indices).to(device),
                 unlabelled.defined() ? unlabelled.to(type) : unlabelled};
  });
  const auto stop_when_asked = [&] {
    if (interrupt_signal() == 0) return;
    if (step > 0) job.run.snapshot(step, with_state(moves.leaves(), optimiser));
    throw Interrupted(interrupt_signal(), fmt::format(" at step {} of {}; the same command{} goes on from there", step, o.steps,
                                                      o.force ? " without --force" : ""));
  };
  const HoldInterrupts whole_steps;
  while (step < o.steps) {
    stop_when_asked();
    Gradients result = gradients(batches.next());
    const double rate = cosine_schedule(o.learning_rate, step, o.steps, o.warmup);
    const double norm = optimiser.step(std::move(result.grads), rate);
    ++step;
    check_finite(result.loss, norm, step, o);
    job.run.record({{"step", step}, {"loss", result.loss}, {"lr", rate}, {"grad_norm", norm}});

    if (o.save_steps > 0 && step % o.save_steps == 0) {
      job.run.save_checkpoint(step, stored(moves.weights(), job.model.params, job.run.path()),
                              provenance(job.model, job.task, o, step), *job.model.checkpoint);
    }
    if (step % o.resume_every == 0 && step < o.steps) job.run.snapshot(step, with_state(moves.leaves(), optimiser));
    if (progress) {
      progress->note(fmt::format("loss {:.3f}", result.loss));
      progress->add(1);
    }
    if (o.on_step) o.on_step(step, result.loss);
  }
  job.run.finish(stored(moves.weights(), job.model.params, job.run.path()), provenance(job.model, job.task, o, o.steps),
                 job.model.checkpoint.get(), {{"final_loss", mean_of_last(job.run.metrics(), 20)}, {"steps", o.steps}});
}

}  // namespace

std::string_view name(Mode mode) { return mode == Mode::Standard ? "standard" : "linear"; }

FinetuneResult finetune(const fs::path& model_path, const data::Task& task, const fs::path& output,
                        const FinetuneOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check(options);
  bridge::configure_torch();
  models::ClipModel model = models::open_clip(model_path);
  formats::check_not_a_source(output, *model.checkpoint, "the model");
  const auto dataset = data::open_dataset(task, data::Split::Train);
  Datasets others;
  for (const data::Task& other : options.penalty_tasks) others.push_back(data::open_dataset(other, data::Split::Train));
  const fs::path start_model = options.from_random ? output / "origin" : model_path;
  const json about = {
      {"model", fs::absolute(start_model).lexically_normal().string()}, {"task", task.file.string()}, {"device", options.device}};
  RunFolder run(output, asked(model, task, *dataset, others, options), about, options.force);
  if (options.from_random && !run.result()) model = random_origin(model, *options.from_random, run.work() / "origin");

  FinetuneResult result;
  result.already_done = run.result().has_value();
  if (!result.already_done) {
    const data::Loader loader(dataset, data::Preprocess::open(model.path, model.network.config().image_size));
    model.network.checkpoint_activations(options.checkpoint_activations);
    train({model, task, loader, others, options, run});
  }
  result.final_loss = run.result()->value("final_loss", 0.0);
  result.steps = run.result()->value("steps", int64_t{0});
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace taskvec::train
