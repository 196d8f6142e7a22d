#include "taskvec/analysis/disentanglement.h"

#include "taskvec/core/error.h"

#include <array>

namespace taskvec::analysis {
namespace {

at::Tensor finite_logits(const Logits& logits, size_t task, std::array<double, 2> alpha) {
  const at::Tensor result = logits(task, alpha);
  if (!result.isfinite().all().item<bool>()) {
    fail(ErrorCode::Numeric, "the outputs on task {} are not finite at ({}, {}); take a smaller grid", task + 1, alpha[0],
         alpha[1]);
  }
  return result;
}

double mean_distance(const at::Tensor& own, const at::Tensor& both, Distance distance) {
  if (distance == Distance::ZeroOne) return own.argmax(1).ne(both.argmax(1)).to(at::kDouble).mean().item<double>();
  const at::Tensor p = at::log_softmax(own.to(at::kDouble), 1), q = at::log_softmax(both.to(at::kDouble), 1);
  return (p.exp() * (p - q)).sum(1).mean().item<double>();
}

}  // namespace

at::Tensor disentanglement_error(const Logits& logits, std::span<const double> grid, Distance distance) {
  const c10::InferenceMode inference;
  const auto n = static_cast<int64_t>(grid.size());
  at::Tensor error = at::zeros({n, n}, at::kDouble);
  std::array<std::vector<at::Tensor>, 2> own;  // of each task under its own vector alone, along the grid
  for (const double alpha : grid) {
    own[0].push_back(finite_logits(logits, 0, {alpha, 0}));
    own[1].push_back(finite_logits(logits, 1, {0, alpha}));
  }
  for (size_t i = 0; i < grid.size(); ++i) {
    for (size_t j = 0; j < grid.size(); ++j) {
      double sum = 0;
      for (size_t task = 0; task < 2; ++task) {
        sum += mean_distance(own[task][task == 0 ? i : j], finite_logits(logits, task, {grid[i], grid[j]}), distance);
      }
      error[static_cast<int64_t>(i)][static_cast<int64_t>(j)] = sum;
    }
  }
  return error;
}

}  // namespace taskvec::analysis
