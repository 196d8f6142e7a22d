#pragma once

#include "taskvec/analysis/kernel.h"
#include "taskvec/data/dataset.h"
#include "taskvec/models/clip.h"
#include "taskvec/report/plot.h"

#include <functional>

namespace taskvec::analysis {

/// The tangent kernel of an image encoder on samples of some tasks, one task after the other, and what it says of each.
struct KernelStudy {
  struct OfTask {
    std::string name;
    int64_t samples = 0;
    double alignment = 0;            ///< label_alignment() on its own samples
    double regression_accuracy = 0;  ///< of every second of them, by kernel_regression() from the others
    at::Tensor energy;               ///< [samples of all] its share of every eigenfunction, the largest eigenvalue first
  };
  at::Tensor gram;  ///< [samples, samples] float64
  Spectrum spectrum;
  std::vector<OfTask> tasks;
};

struct KernelStudyOptions {
  data::Split split = data::Split::Test;
  int64_t samples = 100;           ///< a task
  int64_t outputs = 4;             ///< output coordinates that are drawn and summed over; 0: all
  uint64_t seed = 0;               ///< of the coordinates
  std::string only = "*";          ///< pattern of the parameters
  int64_t memory = 1'000'000'000;  ///< bytes for gradients
  double ridge = 1e-3;             ///< of the regression, in means of the kernel's diagonal
  bool float64 = false;
  at::Device device = at::kCPU;
  /// Called with the entries that there will be, then as they are there, for one output.
  std::function<void(int64_t entries, bool total)> on_entries = {};
};

/// @throws Error{InvalidArgument} for fewer than 4 samples a task; as the data sets and tangent::ntk_gram() do
KernelStudy study_kernel(const models::ClipModel& model, const std::vector<data::Task>& tasks, const KernelStudyOptions& options);

/// log10 of the first eigenvalues, of the largest.
report::LinePlot eigenvalue_plot(const KernelStudy& study);
/// Which task the first eigenfunctions live on.
report::LinePlot energy_plot(const KernelStudy& study);

}  // namespace taskvec::analysis
