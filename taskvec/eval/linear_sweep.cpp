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

/// Whether `moved` is Σ c_k directions_k, up to the rounding of float32 weights.
bool affine(const bridge::Params& moved, const std::vector<bridge::Params>& directions, const std::vector<double>& c) {
  constexpr double kRounding = 1e-4;
  for (const auto& [name, tensor] : moved) {
    at::Tensor rest = tensor;
    double scale = tensor.norm().item<double>();
    for (size_t k = 0; k < c.size(); ++k) {
      rest = rest - c[k] * directions[k].at(name);
      scale = std::max(scale, c[k] * directions[k].at(name).norm().item<double>());
    }
    if (rest.norm().item<double>() > kRounding * scale) return false;
  }
  return true;
}

}  // namespace

std::shared_ptr<const LinearSweep> LinearSweep::make(EditedClip& model, Evaluator& evaluator,
                                                     const std::vector<data::Task>& tasks, data::Split split) {
  const size_t count = model.coefficients().size();
  auto sweep = std::make_shared<LinearSweep>();
  sweep->point_ =
      model.apply(std::vector<double>(count, 0)).map([](const std::string&, const at::Tensor& tensor) { return tensor.clone(); });
  const auto moved = [&](const std::vector<double>& c) { return minus(model.apply(c), sweep->point_); };
  std::vector<bridge::Params> directions;
  std::vector<double> elsewhere;
  for (size_t k = 0; k < count; ++k) {
    std::vector<double> unit(count, 0);
    unit[k] = 1;
    const auto direction = moved(unit);
    if (!direction) return nullptr;
    directions.push_back(*direction);
    elsewhere.push_back(1.5 + static_cast<double>(k));
  }
  const auto there = moved(elsewhere);
  if (!there || !affine(*there, directions, elsewhere)) return nullptr;

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
