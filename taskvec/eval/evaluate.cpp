#include "taskvec/eval/evaluate.h"

#include "taskvec/core/atomic_file.h"
#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/progress.h"
#include "taskvec/train/head.h"

#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace taskvec::eval {
namespace {

constexpr size_t kHeadsKept = 64;
constexpr int64_t kBlockBatches = 8;  // batches whose outputs are one block of the cache

std::string task_key(const data::Task& task) {
  std::string key = task.file.string() + '\0' + task.name + '\0' + task.source + '\0' + task.settings;
  for (const auto* list : {&task.classes, &task.templates}) {
    for (const std::string& text : *list) key += '\0' + text;
    key += '\1';
  }
  return key;
}

bridge::Params in_float32(const bridge::Params& params) {
  return params.map(
      [](const std::string&, const at::Tensor& tensor) { return tensor.is_floating_point() ? tensor.to(at::kFloat) : tensor; });
}

[[noreturn]] void not_finite(const data::Task& task, int64_t sample, const bridge::Params& params) {
  std::string cause = "every weight is finite: they are too large, as far from a trained point as a large coefficient leads";
  for (const auto& [name, tensor] : params) {
    if (tensor.is_floating_point() && !tensor.isfinite().all().item<bool>()) {
      cause = fmt::format("tensor '{}' holds NaN or infinite values", name);
      break;
    }
  }
  fail(ErrorCode::Numeric, "task '{}': the features of sample {} are not finite; {}", task.name, sample, cause);
}

std::string fingerprint_of(const bridge::Params& params) {
  Fingerprint print;
  for (const auto& [name, tensor] : params) {
    const at::Tensor here = tensor.cpu().contiguous();
    print.update(name).update(bridge::view(here).bytes);
  }
  return print.hex();
}

/// Changes when anything does that a head is made of.
std::string text_fingerprint(const bridge::Params& params) {
  return fingerprint_of(params.filter([](const std::string& name) { return !models::Clip::is_image_encoder(name); }));
}

bool is_zero(const bridge::Params& params) {
  return std::all_of(params.begin(), params.end(), [](const auto& entry) { return !entry.second.any().template item<bool>(); });
}

at::Device device_of(const bridge::Params& params) { return params.at("visual_projection.weight").device(); }

/// The answers to features of the samples from `begin` on.
void append_answers(TaskResult& result, const at::Tensor& features, const at::Tensor& head, const data::Task& task, int64_t begin,
                    const bridge::Params& params) {
  const at::Tensor finite = features.isfinite().all(1);
  if (!finite.all().item<bool>()) not_finite(task, begin + finite.logical_not().nonzero()[0].item<int64_t>(), params);
  const at::Tensor answers = train::classify(features, head).argmax(1).to(at::kInt).cpu().contiguous();
  result.predictions.insert(result.predictions.end(), answers.const_data_ptr<int32_t>(),
                            answers.const_data_ptr<int32_t>() + answers.numel());
}

}  // namespace

struct Evaluator::State {
  const models::Clip& network;
  std::filesystem::path folder;
  EvalOptions options;
  data::Preprocess preprocess;
  std::map<std::string, data::Loader> loaders;
  std::map<std::string, at::Tensor> heads;
  std::optional<tangent::Linearized> linearized{};  // what points are evaluated as, where it is not the network itself
  std::string origin_fingerprint{};
  std::optional<SweepCache> sweeps{};
  int64_t forwarded = 0;

  const data::Loader& loader(const data::Task& task, data::Split split) {
    const std::string key = task_key(task) + std::string(data::name(split));
    const auto found = loaders.find(key);
    if (found != loaders.end()) return found->second;
    return loaders.try_emplace(key, data::open_dataset(task, split, options.limit), preprocess).first->second;
  }

  at::Tensor head(const bridge::Params& params, const data::Task& task, const at::Device& device) {
    const std::string key = text_fingerprint(params) + device.str() + task_key(task);
    if (const auto found = heads.find(key); found != heads.end()) return found->second;
    if (heads.size() >= kHeadsKept) heads.clear();
    return heads[key] = train::zero_shot_head(network, params, folder, task).to(device);
  }

  /// τ = point - θ0.
  bridge::Params displacement(const bridge::Params& point) const {
    return linearized->origin().map(
        [&](const std::string& name, const at::Tensor& tensor) { return point.at(name) - tensor.to(point.at(name).device()); });
  }

  /// pixels -> image features at a point. Lifetime: as long as `params`.
  std::function<at::Tensor(const at::Tensor&)> features_at(const bridge::Params& params) {
    if (!linearized) {
      return [&](const at::Tensor& pixels) {
        forwarded += pixels.size(0);
        return network.image_features(params, pixels);
      };
    }
    return [this, tau = displacement(params)](const at::Tensor& pixels) {
      forwarded += 2 * pixels.size(0);
      return (*linearized)(tau, pixels);
    };
  }

  /// Calls use(begin, pixels) for the batches of a split in their order.
  void for_each_batch(const data::Task& task, data::Split split, const at::Device& device,
                      const std::function<void(int64_t, const at::Tensor&)>& use) {
    const int64_t n = loader(task, split).size();
    const auto progress = make_progress(task, split);
    for (int64_t begin = 0; begin < n; begin += options.batch) {
      const int64_t end = std::min(begin + options.batch, n);
      use(begin, pixels(task, split, device, begin, end));
      if (progress) progress->add(end - begin);
    }
  }

  /// Nothing where none is asked for.
  std::unique_ptr<Progress> make_progress(const data::Task& task, data::Split split) {
    if (!options.progress) return nullptr;
    return std::make_unique<Progress>(fmt::format("{} ({})", task.name, data::name(split)), loader(task, split).size(), "images");
  }

  at::Tensor pixels(const data::Task& task, data::Split split, const at::Device& device, int64_t begin, int64_t end) {
    std::vector<int64_t> indices(static_cast<size_t>(end - begin));
    std::iota(indices.begin(), indices.end(), begin);
    return loader(task, split).images(indices).to(device);
  }

  /// Everything that blocks of outputs depend on, directions and rows aside.
  std::string sweep_key(const data::Task& task, data::Split split, const at::Device& device) {
    Fingerprint print;
    print.update(fmt::format("sweep 1\n{}\n{}\n{}\n{}\n{}\n{}\n", TORCH_VERSION, device.str(), options.batch, preprocess.key(),
                             origin_fingerprint, loader(task, split).dataset().fingerprint()));
    return print.update(read_file(folder / "config.json")).hex();
  }

  /// Of f(x; θ0) (number 0) and J τ of directions (their numbers in `all`) those that are wanted, in one pass.
  std::vector<at::Tensor> outputs(std::span<const bridge::Params> all, std::span<const size_t> wanted, const at::Tensor& pixels) {
    std::vector<bridge::Params> directions;
    for (const size_t k : wanted)
      if (k > 0) directions.push_back(all[k]);
    const models::Dual value = linearized->jvp(directions, pixels);
    forwarded += pixels.size(0) * static_cast<int64_t>(1 + directions.size());
    std::vector<at::Tensor> outputs = value.tangents;
    if (!wanted.empty() && wanted[0] == 0) outputs.insert(outputs.begin(), value.primal);
    return outputs;
  }

  /// Compares the predictions with the labels.
  void finish(TaskResult& result, const data::Task& task, data::Split split) {
    const data::Loader& images = loader(task, split);
    result.task = task.name;
    result.split = split;
    result.per_class.resize(task.classes.size());
    for (int64_t i = 0; i < images.size(); ++i) {
      const int64_t label = images.dataset().label(i);
      const bool right = label == result.predictions.at(static_cast<size_t>(i));
      result.labels.push_back(static_cast<int32_t>(label));
      for (Accuracy* accuracy : {&result.accuracy, &result.per_class.at(static_cast<size_t>(label))}) {
        accuracy->correct += right;
        ++accuracy->n;
      }
    }
  }
};

Evaluator::Evaluator(const models::Clip& network, std::filesystem::path model_folder, EvalOptions options)
    : state_(std::make_unique<State>(
          State{network, model_folder, options, data::Preprocess::open(model_folder, network.config().image_size), {}, {}})) {
  if (options.batch < 1) fail(ErrorCode::InvalidArgument, "a batch of {} images; expected at least 1", options.batch);
  if (options.limit < 0) fail(ErrorCode::InvalidArgument, "a limit of {} samples; expected 0 (all) or more", options.limit);
}

Evaluator::~Evaluator() = default;

const EvalOptions& Evaluator::options() const { return state_->options; }

std::string Evaluator::fingerprint(const data::Task& task, data::Split split) {
  return state_->loader(task, split).dataset().fingerprint();
}

TaskResult Evaluator::evaluate(const bridge::Params& params, const data::Task& task) {
  return evaluate(params, task, state_->options.split);
}

TaskResult Evaluator::evaluate(const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  State& state = *state_;
  const bridge::Params params = in_float32(given);
  const at::Tensor head = state.head(params, task, device_of(params));
  TaskResult result;
  state.loader(task, split);  // decodes before the clock starts
  Progress clock("", 0, "");
  const auto features = state.features_at(params);
  state.for_each_batch(task, split, device_of(params), [&](int64_t begin, const at::Tensor& pixels) {
    append_answers(result, features(pixels), head, task, begin, params);
  });
  result.seconds = clock.seconds();
  state.finish(result, task, split);
  return result;
}

void Evaluator::linearise(bridge::Params origin) {
  state_->linearized = tangent::image_encoder(state_->network, in_float32(origin));
  state_->origin_fingerprint = fingerprint_of(state_->linearized->origin());
}

std::string Evaluator::origin_fingerprint() const { return state_->origin_fingerprint; }

void Evaluator::keep_sweeps(SweepCache cache) { state_->sweeps = std::move(cache); }

int64_t Evaluator::images_forwarded() const { return state_->forwarded; }

bool Evaluator::linear() const { return state_->linearized.has_value(); }

tangent::AffineOutputs Evaluator::affine_outputs(const bridge::Params& point, std::span<const bridge::Params> directions,
                                                 const data::Task& task, data::Split split) {
  if (!linear()) fail(ErrorCode::InvalidArgument, "the network itself is not affine in its weights; linearise() it first");
  const c10::InferenceMode inference;
  State& state = *state_;
  // f(x; θ0) comes first, then J τ of what moves: no pass is made for the point where it is θ0.
  std::vector<bridge::Params> all{bridge::Params()};
  const bridge::Params displacement = state.displacement(in_float32(point));
  const bool displaced = !is_zero(displacement);
  if (displaced) all.push_back(displacement);
  all.insert(all.end(), directions.begin(), directions.end());

  const at::Device device = device_of(point);
  const int64_t n = state.loader(task, split).size(), outputs = state.network.config().projection_dim;
  const auto bytes = static_cast<uint64_t>(n * outputs) * sizeof(float) * all.size();
  const bool cached = state.sweeps.has_value() && bytes <= state.sweeps->budget();
  std::vector<std::string> keys(all.size());
  if (cached) {
    const std::string shared = state.sweep_key(task, split, device);
    for (size_t k = 0; k < all.size(); ++k) keys[k] = shared + (k == 0 ? "" : fingerprint_of(all[k]));
  }

  std::vector<at::Tensor> whole;
  for (size_t k = 0; k < all.size(); ++k) whole.push_back(at::empty({n, outputs}, at::TensorOptions(device).dtype(at::kFloat)));
  const auto progress = state.make_progress(task, split);
  const int64_t rows = kBlockBatches * state.options.batch;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(begin + rows, n);
    const auto block_key = [&](size_t k) { return taskvec::fingerprint(fmt::format("{}\n{}\n{}", keys[k], begin, end)); };
    std::vector<size_t> missing;
    for (size_t k = 0; k < all.size(); ++k) {
      const auto found = cached ? state.sweeps->find(block_key(k), {end - begin, outputs}) : std::nullopt;
      if (found) {
        whole[k].slice(0, begin, end).copy_(*found);
      } else {
        missing.push_back(k);
      }
    }
    if (!missing.empty()) {
      for (int64_t first = begin; first < end; first += state.options.batch) {
        const int64_t last = std::min(first + state.options.batch, end);
        const auto parts = state.outputs(all, missing, state.pixels(task, split, device, first, last));
        for (size_t i = 0; i < missing.size(); ++i) whole[missing[i]].slice(0, first, last).copy_(parts[i]);
      }
      if (cached)
        for (const size_t k : missing) state.sweeps->store(block_key(k), whole[k].slice(0, begin, end));
    }
    if (progress) progress->add(end - begin);
  }

  models::Dual value(whole[0]);
  size_t next = 1;
  if (displaced) value.primal = value.primal + whole[next++];
  for (; next < all.size(); ++next) value.tangents.push_back(whole[next]);
  return tangent::AffineOutputs(value);
}

at::Tensor Evaluator::features(const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  const auto features = state_->features_at(params);
  std::vector<at::Tensor> parts;
  state_->for_each_batch(task, split, device_of(params),
                         [&](int64_t, const at::Tensor& pixels) { parts.push_back(features(pixels)); });
  return at::cat(parts);
}

at::Tensor Evaluator::head(const bridge::Params& given, const data::Task& task) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  return state_->head(params, task, device_of(params));
}

at::Tensor Evaluator::labels(const data::Task& task, data::Split split) {
  const data::Loader& loader = state_->loader(task, split);
  at::Tensor labels = at::empty({loader.size()}, at::kLong);
  for (int64_t i = 0; i < loader.size(); ++i) labels.mutable_data_ptr<int64_t>()[i] = loader.dataset().label(i);
  return labels;
}

TaskResult Evaluator::score(const at::Tensor& features, const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  TaskResult result;
  append_answers(result, features, state_->head(params, task, features.device()), task, 0, params);
  state_->finish(result, task, split);
  return result;
}

}  // namespace taskvec::eval
