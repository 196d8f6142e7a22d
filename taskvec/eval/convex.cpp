#include "taskvec/eval/convex.h"

#include "taskvec/core/error.h"

#include <cmath>

namespace taskvec::eval {
namespace {

constexpr int kMostSteps = 100;
constexpr double kDecrement = 1e-24;  // half the square of Newton's: what another step would gain

constexpr double kRounding = 1e-15;  // of the loss itself

/// Value, gradient [K] and Hessian [K, K] of the loss, float64.
struct Expansion {
  double value = 0;
  at::Tensor gradient, hessian;
};

class Loss {
 public:
  Loss(const LinearSweep& sweep, double ridge) : ridge_(ridge) {
    if (!(ridge > 0)) fail(ErrorCode::InvalidArgument, "a ridge of {}; expected a number above 0", ridge);
    for (size_t t = 0; t < sweep.tasks(); ++t) {
      tasks_.push_back(sweep.affine_logits(t));
      if (!tasks_.back().origin.isfinite().all().item<bool>() || !tasks_.back().slopes.isfinite().all().item<bool>())
        fail(ErrorCode::Numeric, "the outputs on task {} are not finite", t + 1);
    }
  }

  int64_t dimensions() const { return tasks_.at(0).slopes.size(0); }

  double value(const at::Tensor& alpha) const {
    double sum = 0;
    for (const AffineLogits& task : tasks_) sum += mean_loss(task, at::log_softmax(logits(task, alpha), 1)).item<double>();
    return sum / static_cast<double>(tasks_.size()) + ridge_ / 2 * alpha.dot(alpha).item<double>();
  }

  Expansion expand(const at::Tensor& alpha) const {
    const int64_t k = dimensions();
    Expansion result{0, at::zeros({k}, at::kDouble), at::zeros({k, k}, at::kDouble)};
    for (const AffineLogits& task : tasks_) {
      const auto n = static_cast<double>(task.origin.size(0));
      const at::Tensor log_p = at::log_softmax(logits(task, alpha), 1), p = log_p.exp();
      const at::Tensor weighted = task.slopes * p, mean = weighted.sum(2);  // [K, samples, classes], [K, samples]
      const at::Tensor right = task.slopes.gather(2, task.labels.unsqueeze(1).expand({k, -1, 1})).squeeze(2);
      result.value += mean_loss(task, log_p).item<double>();
      result.gradient += (mean - right).mean(1);
      result.hessian += (weighted.flatten(1).matmul(task.slopes.flatten(1).t()) - mean.matmul(mean.t())) / n;
    }
    const auto count = static_cast<double>(tasks_.size());
    result.value = result.value / count + ridge_ / 2 * alpha.dot(alpha).item<double>();
    result.gradient = result.gradient / count + ridge_ * alpha;
    result.hessian = result.hessian / count + ridge_ * at::eye(k, at::kDouble);
    return result;
  }

 private:
  static at::Tensor logits(const AffineLogits& task, const at::Tensor& alpha) {
    return task.origin + alpha.matmul(task.slopes.flatten(1)).view_as(task.origin);
  }
  static at::Tensor mean_loss(const AffineLogits& task, const at::Tensor& log_p) {
    return -log_p.gather(1, task.labels.unsqueeze(1)).mean();
  }

  std::vector<AffineLogits> tasks_;
  double ridge_;
};

}  // namespace

ConvexSolution solve_coefficients(const LinearSweep& sweep, double ridge) {
  const c10::InferenceMode inference;
  const Loss loss(sweep, ridge);
  at::Tensor alpha = at::zeros({loss.dimensions()}, at::kDouble);
  ConvexSolution solution;
  Expansion here = loss.expand(alpha);
  solution.loss_at_zero = here.value;
  for (; solution.steps < kMostSteps; ++solution.steps) {
    const at::Tensor direction = -at::linalg_solve(here.hessian, here.gradient);
    const double decrement = -direction.dot(here.gradient).item<double>() / 2;
    if (decrement <= kDecrement) break;
    double length = 1;  // Armijo: a convex function falls along Newton's direction, if not always by a whole step
    while (length > 1e-12 && loss.value(alpha + length * direction) > here.value - 0.5 * length * decrement) length /= 2;
    if (length <= 1e-12) break;  // nothing left above rounding
    alpha = alpha + length * direction;
    here = loss.expand(alpha);
  }
  solution.coefficients.assign(alpha.const_data_ptr<double>(), alpha.const_data_ptr<double>() + alpha.numel());
  solution.loss = here.value;
  solution.gradient_norm = here.gradient.norm().item<double>();
  solution.gap = std::max(solution.gradient_norm * solution.gradient_norm / (2 * ridge), kRounding * solution.loss);
  return solution;
}

double convex_loss(const LinearSweep& sweep, std::span<const double> coefficients, double ridge) {
  const c10::InferenceMode inference;
  return Loss(sweep, ridge).value(at::tensor(at::ArrayRef<double>(coefficients.data(), coefficients.size()), at::kDouble));
}

}  // namespace taskvec::eval
