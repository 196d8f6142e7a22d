#include "taskvec/eval/evaluate.h"

#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/eval/tangent_pass.h"
#include "taskvec/train/head.h"
#include "taskvec/train/identity.h"

#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <optional>

namespace taskvec::eval {
namespace {

constexpr size_t kHeadsKept = 64;

bridge::Params in_float32(const bridge::Params& params) {
  return params.map(
      [](const std::string&, const at::Tensor& tensor) { return tensor.is_floating_point() ? tensor.to(at::kFloat) : tensor; });
}

/// The image encoder once in what it computes in, not in every batch.
bridge::Params rounded(const bridge::Params& params, bridge::Precision precision) {
  return params.map([&](const std::string& name, const at::Tensor& tensor) {
    return models::Clip::is_image_encoder(name) ? tensor.to(bridge::compute_dtype(precision)) : tensor;
  });
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

/// Reads answers one batch behind: a device is not waited for before it has the next.
class Answers {
 public:
  Answers(const data::Task& task, const at::Tensor& head, const bridge::Params& params, TaskResult& result)
      : task_(task), head_(head), params_(params), result_(result) {}

  /// @param features  of the samples that follow those before
  void add(const at::Tensor& features) {
    const Batch next{features.isfinite().all(1), train::classify(features, head_).argmax(1).to(at::kInt)};
    read();
    last_ = next;
  }

  /// @throws Error{Numeric} for features that are not finite
  void read() {
    if (!last_.answers.defined()) return;
    if (!last_.finite.all().item<bool>()) {
      const int64_t row = last_.finite.logical_not().nonzero()[0].item<int64_t>();
      not_finite(task_, static_cast<int64_t>(result_.predictions.size()) + row, params_);
    }
    const at::Tensor here = last_.answers.cpu().contiguous();
    result_.predictions.insert(result_.predictions.end(), here.const_data_ptr<int32_t>(),
                               here.const_data_ptr<int32_t>() + here.numel());
    last_ = {};
  }

 private:
  struct Batch {
    at::Tensor finite, answers;  // [samples]
  };

  const data::Task& task_;
  const at::Tensor& head_;
  const bridge::Params& params_;
  TaskResult& result_;
  Batch last_;
};

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
    const std::string key = text_fingerprint(params) + device.str() + data::task_key(task);
    if (const auto found = heads.find(key); found != heads.end()) return found->second;
    if (heads.size() >= kHeadsKept) heads.clear();
    return heads[key] = train::zero_shot_head(network, params, folder, task).to(device);
  }

  /// pixels -> image features at a point. Lifetime: as long as `params`.
  std::function<at::Tensor(const at::Tensor&)> features_at(const bridge::Params& params) {
    bridge::use_precision(samples.options().precision, device_of(params));
    if (tangent) return tangent->at(params);
    return [this, point = rounded(params, samples.options().precision)](const at::Tensor& pixels) {
      forwarded += pixels.size(0);
      return network.image_features(point, pixels).to(at::kFloat);
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

nlohmann::json Evaluator::identity() const {
  nlohmann::json json = train::folder_identity(state_->network, state_->folder);
  json.update({{"origin", origin_fingerprint()},
               {"precision", bridge::name(options().precision)},
               {"batch", options().batch},
               {"limit", options().limit},
               {"torch", TORCH_VERSION}});
  return json;
}

nlohmann::json Evaluator::identity(const data::Task& task, data::Split split) {
  return train::task_identity(task, state_->samples.loader(task, split).dataset());
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
  Answers answers(task, head, params, result);
  state.samples.for_each_batch(task, split, device_of(params),
                               [&](int64_t, const at::Tensor& pixels) { answers.add(features(pixels)); });
  answers.read();
  result.seconds = clock.seconds();
  state.finish(result, task, split);
  return result;
}

void Evaluator::linearise(bridge::Params origin) {
  const models::Clip& network = state_->network;
  state_->tangent.emplace(tangent::image_encoder(network, in_float32(origin)), network.config().projection_dim);
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
  bridge::use_precision(state.samples.options().precision, device_of(point));
  // Of what answers depend on, that which features do: templates may change between passes.
  nlohmann::json depends = identity();
  depends.erase("tokenizer");
  depends["samples"] = identity(task, split).at("samples");
  depends["device"] = device_of(point).str();
  return state.tangent->outputs(in_float32(point), directions, state.samples, task, split,
                                state.sweeps ? &*state.sweeps : nullptr, fingerprint("sweep 3\n" + depends.dump()));
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
  const at::Tensor head = state_->head(params, task, features.device());
  Answers answers(task, head, params, result);
  answers.add(features);
  answers.read();
  state_->finish(result, task, split);
  return result;
}

}  // namespace taskvec::eval
