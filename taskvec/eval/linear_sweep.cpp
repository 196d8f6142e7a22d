#include "taskvec/eval/linear_sweep.h"

#include "taskvec/train/head.h"

#include <algorithm>

namespace taskvec::eval {
namespace {

/// a - b of the image encoder; nothing where the text encoder differs, too.
std::optional<bridge::Params> minus(const bridge::Params& a, const bridge::Params& b) {
  bridge::Params result;
  for (const auto& [name, tensor] : a) {
    const at::Tensor difference = tensor - b.at(name);
    if (models::Clip::is_image_encoder(name)) {
      result.add(name, difference);
    } else if (difference.count_nonzero().item<int64_t>() > 0) {
      return std::nullopt;
    }
  }
  return result;
}

}  // namespace

std::shared_ptr<const LinearSweep> LinearSweep::make(EditedClip& model, Evaluator& evaluator,
                                                     const std::vector<data::Task>& tasks, data::Split split) {
  const size_t count = model.coefficients().size();
  if (!edit::is_affine(edit::parse(model.layout().expression), model.coefficients())) return nullptr;
  auto sweep = std::make_shared<LinearSweep>();
  sweep->point_ =
      model.apply(std::vector<double>(count, 0)).map([](const std::string&, const at::Tensor& tensor) { return tensor.clone(); });
  const auto moved = [&](const std::vector<double>& c) { return minus(model.apply(c), sweep->point_); };
  std::vector<bridge::Params> directions;
  for (size_t k = 0; k < count; ++k) {
    std::vector<double> unit(count, 0);
    unit[k] = 1;
    const auto direction = moved(unit);
    if (!direction) return nullptr;
    directions.push_back(*direction);
  }

  for (const data::Task& task : tasks) {
    evaluator.labels(task, split);  // decodes before the clock starts
    Progress clock("", 0, "");
    auto outputs = evaluator.affine_outputs(sweep->point_, directions, task, split);
    sweep->outputs_.push_back({task, std::move(outputs), clock.seconds()});
  }
  sweep->evaluator_ = &evaluator;
  sweep->split_ = split;
  return sweep;
}

at::Tensor LinearSweep::logits(size_t task, std::span<const double> coefficients) const {
  const auto& [data, outputs, seconds] = outputs_.at(task);
  return train::classify(outputs.at(coefficients), evaluator_->head(point_, data));
}

AffineLogits LinearSweep::affine_logits(size_t task) const {
  const c10::InferenceMode inference;
  const auto& [data, outputs, seconds] = outputs_.at(task);
  const at::Tensor head = evaluator_->head(point_, data).to(at::kDouble), origin = outputs.origin().to(at::kDouble);
  const at::Tensor scaled = head / origin.norm(2, {1}).mean();
  return {origin.matmul(scaled).cpu(), outputs.slopes().to(at::kDouble).matmul(scaled).cpu(), evaluator_->labels(data, split_)};
}

TaskResult LinearSweep::result(size_t task, std::span<const double> coefficients) const {
  const auto& [data, outputs, seconds] = outputs_.at(task);
  TaskResult result = evaluator_->score(outputs.at(coefficients), point_, data, split_);
  result.seconds = seconds;
  return result;
}

search::Metrics LinearSweep::metrics(std::span<const double> coefficients) const {
  search::Metrics metrics;
  for (size_t i = 0; i < outputs_.size(); ++i)
    metrics[outputs_[i].task.name] = accuracy_or_nan([&] { return result(i, coefficients).accuracy; });
  return metrics;
}

}  // namespace taskvec::eval
