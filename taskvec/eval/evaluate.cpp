#include "taskvec/eval/evaluate.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/eval/tangent_pass.h"
#include "taskvec/train/head.h"

#include <c10/core/InferenceMode.h>

#include <optional>

namespace taskvec::eval {
namespace {

constexpr size_t kHeadsKept = 64;

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

/// Changes when anything does that a head is made of.
std::string text_fingerprint(const bridge::Params& params) {
  return fingerprint_of(params.filter([](const std::string& name) { return !models::Clip::is_image_encoder(name); }));
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
  Samples samples;
  std::map<std::string, at::Tensor> heads{};
  std::optional<TangentPass> tangent{};  // what points are evaluated as, where it is not the network itself
  std::optional<SweepCache> sweeps{};
  int64_t forwarded = 0;

  at::Tensor head(const bridge::Params& params, const data::Task& task, const at::Device& device) {
    const std::string key = text_fingerprint(params) + device.str() + task_key(task);
    if (const auto found = heads.find(key); found != heads.end()) return found->second;
    if (heads.size() >= kHeadsKept) heads.clear();
    return heads[key] = train::zero_shot_head(network, params, folder, task).to(device);
  }

  /// pixels -> image features at a point. Lifetime: as long as `params`.
  std::function<at::Tensor(const at::Tensor&)> features_at(const bridge::Params& params) {
    if (tangent) return tangent->at(params);
    return [&](const at::Tensor& pixels) {
      forwarded += pixels.size(0);
      return network.image_features(params, pixels);
    };
  }

  /// Compares the predictions with the labels.
  void finish(TaskResult& result, const data::Task& task, data::Split split) {
    const data::Loader& images = samples.loader(task, split);
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
          State{network, model_folder, Samples(data::Preprocess::open(model_folder, network.config().image_size), options)})) {}

Evaluator::~Evaluator() = default;

const EvalOptions& Evaluator::options() const { return state_->samples.options(); }

int64_t Evaluator::images(const data::Task& task, data::Split split) { return state_->samples.loader(task, split).size(); }

std::string Evaluator::fingerprint(const data::Task& task, data::Split split) {
  return state_->samples.loader(task, split).dataset().fingerprint();
}

TaskResult Evaluator::evaluate(const bridge::Params& params, const data::Task& task) {
  return evaluate(params, task, options().split);
}

TaskResult Evaluator::evaluate(const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  State& state = *state_;
  const bridge::Params params = in_float32(given);
  const at::Tensor head = state.head(params, task, device_of(params));
  TaskResult result;
  state.samples.loader(task, split);  // decodes before the clock starts
  Progress clock("", 0, "");
  const auto features = state.features_at(params);
  state.samples.for_each_batch(task, split, device_of(params), [&](int64_t begin, const at::Tensor& pixels) {
    append_answers(result, features(pixels), head, task, begin, params);
  });
  result.seconds = clock.seconds();
  state.finish(result, task, split);
  return result;
}

void Evaluator::linearise(bridge::Params origin) {
  const models::Clip& network = state_->network;
  state_->tangent.emplace(tangent::image_encoder(network, in_float32(origin)), network.config().projection_dim,
                          read_file(state_->folder / "config.json"));
}

bool Evaluator::linear() const { return state_->tangent.has_value(); }

std::string Evaluator::origin_fingerprint() const { return linear() ? state_->tangent->origin_fingerprint() : ""; }

void Evaluator::keep_sweeps(SweepCache cache) { state_->sweeps = std::move(cache); }

int64_t Evaluator::images_forwarded() const { return state_->forwarded + (linear() ? state_->tangent->images_forwarded() : 0); }

tangent::AffineOutputs Evaluator::affine_outputs(const bridge::Params& point, std::span<const bridge::Params> directions,
                                                 const data::Task& task, data::Split split) {
  if (!linear()) fail(ErrorCode::InvalidArgument, "the network itself is not affine in its weights; linearise() it first");
  const c10::InferenceMode inference;
  State& state = *state_;
  return state.tangent->outputs(in_float32(point), directions, state.samples, task, split,
                                state.sweeps ? &*state.sweeps : nullptr);
}

at::Tensor Evaluator::features(const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  const auto features = state_->features_at(params);
  std::vector<at::Tensor> parts;
  state_->samples.for_each_batch(task, split, device_of(params),
                                 [&](int64_t, const at::Tensor& pixels) { parts.push_back(features(pixels)); });
  return at::cat(parts);
}

at::Tensor Evaluator::head(const bridge::Params& given, const data::Task& task) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  return state_->head(params, task, device_of(params));
}

at::Tensor Evaluator::labels(const data::Task& task, data::Split split) { return state_->samples.labels(task, split); }

TaskResult Evaluator::score(const at::Tensor& features, const bridge::Params& given, const data::Task& task, data::Split split) {
  const c10::InferenceMode inference;
  const bridge::Params params = in_float32(given);
  TaskResult result;
  append_answers(result, features, state_->head(params, task, features.device()), task, 0, params);
  state_->finish(result, task, split);
  return result;
}

}  // namespace taskvec::eval
