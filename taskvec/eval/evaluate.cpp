#include "taskvec/eval/evaluate.h"

#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/progress.h"
#include "taskvec/train/head.h"

#include <c10/core/InferenceMode.h>

#include <numeric>
#include <optional>

namespace taskvec::eval {
namespace {

constexpr size_t kHeadsKept = 64;

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

/// Changes when anything does that a head is made of.
std::string text_fingerprint(const models::Clip& network, const bridge::Params& params) {
  Fingerprint print;
  for (const models::ParamInfo& info : network.params().params) {
    if (models::Clip::is_image_encoder(info.name)) continue;
    const at::Tensor tensor = params.at(info.name).cpu().contiguous();
    print.update(info.name).update(bridge::view(tensor).bytes);
  }
  return print.hex();
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

}  // namespace

struct Evaluator::State {
  const models::Clip& network;
  std::filesystem::path folder;
  EvalOptions options;
  data::Preprocess preprocess;
  std::map<std::string, data::Loader> loaders;
  std::map<std::string, at::Tensor> heads;

  const data::Loader& loader(const data::Task& task, data::Split split) {
    const std::string key = task_key(task) + std::string(data::name(split));
    const auto found = loaders.find(key);
    if (found != loaders.end()) return found->second;
    return loaders.try_emplace(key, data::open_dataset(task, split, options.limit), preprocess).first->second;
  }

  at::Tensor head(const bridge::Params& params, const data::Task& task, const at::Device& device) {
    const std::string key = text_fingerprint(network, params) + device.str() + task_key(task);
    if (const auto found = heads.find(key); found != heads.end()) return found->second;
    if (heads.size() >= kHeadsKept) heads.clear();
    return heads[key] = train::zero_shot_head(network, params, folder, task).to(device);
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
  const at::Device device = params.at("visual_projection.weight").device();
  const data::Loader& loader = state.loader(task, split);
  const at::Tensor head = state.head(params, task, device);

  const int64_t n = loader.size();
  TaskResult result;
  result.task = task.name;
  result.split = split;
  result.per_class.resize(task.classes.size());
  std::optional<Progress> progress;
  if (state.options.progress) progress.emplace(fmt::format("{} ({})", task.name, data::name(split)), n, "images");
  Progress clock("", 0, "");
  for (int64_t begin = 0; begin < n; begin += state.options.batch) {
    std::vector<int64_t> indices(static_cast<size_t>(std::min(state.options.batch, n - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    const at::Tensor features = state.network.image_features(params, loader.images(indices).to(device));
    const at::Tensor finite = features.isfinite().all(1);
    if (!finite.all().item<bool>()) not_finite(task, begin + finite.logical_not().nonzero()[0].item<int64_t>(), params);
    const at::Tensor answers = train::classify(features, head).argmax(1).to(at::kInt).cpu().contiguous();
    result.predictions.insert(result.predictions.end(), answers.const_data_ptr<int32_t>(),
                              answers.const_data_ptr<int32_t>() + answers.numel());
    if (progress) progress->add(static_cast<int64_t>(indices.size()));
  }
  result.seconds = clock.seconds();

  for (int64_t i = 0; i < n; ++i) {
    const int64_t label = loader.dataset().label(i);
    const bool right = label == result.predictions[static_cast<size_t>(i)];
    result.labels.push_back(static_cast<int32_t>(label));
    for (Accuracy* accuracy : {&result.accuracy, &result.per_class.at(static_cast<size_t>(label))}) {
      accuracy->correct += right;
      ++accuracy->n;
    }
  }
  return result;
}

}  // namespace taskvec::eval
