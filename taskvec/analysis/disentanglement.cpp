#include "taskvec/analysis/disentanglement.h"

#include "taskvec/core/error.h"
#include "taskvec/report/table.h"

#include <array>
#include <cmath>

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

/// Per sample: [samples] float64.
at::Tensor distances(const at::Tensor& own, const at::Tensor& both, Distance distance) {
  if (distance == Distance::ZeroOne) return own.argmax(1).ne(both.argmax(1)).to(at::kDouble);
  const at::Tensor p = at::log_softmax(own.to(at::kDouble), 1), q = at::log_softmax(both.to(at::kDouble), 1);
  return (p.exp() * (p - q)).sum(1);
}

/// Per-sample sums over points of the grid, of both tasks.
class Sum {
 public:
  void add(size_t task, const at::Tensor& samples) {
    sums_[task] = sums_[task].defined() ? sums_[task] + samples : samples;
    points_ += task == 0 ? 1 : 0;
  }
  Mean mean() const {
    constexpr double kNormal95 = 1.959964;
    Mean mean;
    double variance = 0;
    for (const at::Tensor& sum : sums_) {
      if (!sum.defined()) return {std::nan(""), std::nan("")};
      const at::Tensor samples = sum / points_;
      mean.value += samples.mean().item<double>();
      variance += samples.var(/*unbiased=*/false).item<double>() / static_cast<double>(samples.numel());
    }
    mean.half_width = kNormal95 * std::sqrt(variance);
    return mean;
  }

 private:
  std::array<at::Tensor, 2> sums_;
  double points_ = 0;
};

bool in_unit_interval(double alpha) { return alpha >= 0 && alpha <= 1; }

}  // namespace

Disentanglement disentanglement_error(const Logits& logits, std::span<const double> grid, Distance distance,
                                      const std::function<void()>& on_point) {
  const c10::InferenceMode inference;
  const auto n = static_cast<int64_t>(grid.size());
  Disentanglement result{at::zeros({n, n}, at::kDouble), {}, {}};
  std::array<std::vector<at::Tensor>, 2> own;  // of each task under its own vector alone, along the grid
  for (const double alpha : grid) {
    own[0].push_back(finite_logits(logits, 0, {alpha, 0}));
    own[1].push_back(finite_logits(logits, 1, {0, alpha}));
  }
  Sum everywhere, box;
  for (size_t i = 0; i < grid.size(); ++i) {
    for (size_t j = 0; j < grid.size(); ++j) {
      double error = 0;
      for (size_t task = 0; task < 2; ++task) {
        const at::Tensor samples =
            distances(own[task][task == 0 ? i : j], finite_logits(logits, task, {grid[i], grid[j]}), distance);
        error += samples.mean().item<double>();
        everywhere.add(task, samples);
        if (in_unit_interval(grid[i]) && in_unit_interval(grid[j])) box.add(task, samples);
      }
      result.error[static_cast<int64_t>(i)][static_cast<int64_t>(j)] = error;
      if (on_point) on_point();
    }
  }
  result.everywhere = everywhere.mean();
  result.box = box.mean();
  return result;
}

report::HeatMap error_plot(const Disentanglement& map, std::span<const double> grid, const std::string& first,
                           const std::string& second, const std::string& mode) {
  report::HeatMap plot{.title = "Disentanglement error, " + mode,
                       .labels = {},
                       .matrix = {},
                       .low = 0,
                       .high = 1,
                       .x_label = "times the vector of " + second,
                       .y_label = "times the vector of " + first,
                       .value_label = "ξ",
                       .numbers = grid.size() <= 9,
                       .frame = {}};
  for (size_t i = 0; i < grid.size(); ++i) {
    plot.labels.push_back(report::coefficient(grid[i]));
    const at::Tensor row = map.error[static_cast<int64_t>(i)].contiguous();
    plot.matrix.emplace_back(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel());
    if (grid[i] < 0 || grid[i] > 1) continue;
    if (!plot.frame) plot.frame = std::pair(i, i);
    plot.frame->second = i;
  }
  return plot;
}

}  // namespace taskvec::analysis
