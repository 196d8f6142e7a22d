#include "taskvec/analysis/kernel_study.h"

#include "taskvec/bridge/device.h"
#include "taskvec/core/error.h"
#include "taskvec/core/glob.h"
#include "taskvec/core/random.h"
#include "taskvec/tangent/ntk.h"

#include <algorithm>
#include <numeric>

namespace taskvec::analysis {
namespace {

constexpr int64_t kShown = 60;  // eigenfunctions in a plot

struct Sample {
  at::Tensor images, tasks, labels;  // tasks: which one, int64
};

Sample sample_of(const models::ClipModel& model, const std::vector<data::Task>& tasks, const KernelStudyOptions& options) {
  std::vector<at::Tensor> images, labels, owners;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const data::Loader loader(data::open_dataset(tasks[t], options.split, options.samples),
                              data::Preprocess::open(model.path, model.network.config().image_size));
    std::vector<int64_t> all(static_cast<size_t>(loader.size()));
    std::iota(all.begin(), all.end(), 0);
    images.push_back(loader.images(all));
    labels.push_back(loader.labels(all));
    owners.push_back(at::full({loader.size()}, static_cast<int64_t>(t), at::kLong));
  }
  const at::Tensor pixels = at::cat(images);
  return {options.float64 ? pixels.to(at::kDouble) : pixels, at::cat(owners), at::cat(labels)};
}

/// Output coordinates, drawn without repetition; all where none are asked for.
std::vector<int64_t> drawn_outputs(int64_t wanted, int64_t there, uint64_t seed) {
  if (wanted == 0 || wanted >= there) return {};
  std::vector<int64_t> all(static_cast<size_t>(there));
  std::iota(all.begin(), all.end(), 0);
  const Philox random(seed, "outputs");
  for (int64_t i = 0; i < wanted; ++i) {
    const auto other = i + static_cast<int64_t>(random.below(static_cast<uint64_t>(i), static_cast<uint64_t>(there - i)));
    std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(other)]);
  }
  all.resize(static_cast<size_t>(wanted));
  std::sort(all.begin(), all.end());
  return all;
}

/// What the kernel alone, without training, knows of a task: every second sample is asked, the others are known.
double regression_accuracy(const at::Tensor& gram, const at::Tensor& labels, int64_t classes, double ridge) {
  const int64_t n = labels.size(0);
  const at::Tensor known = at::arange(0, n, 2, at::kLong), asked = at::arange(1, n, 2, at::kLong);
  const at::Tensor targets =
      at::one_hot(labels.index_select(0, known), classes).to(at::kDouble) - 1.0 / static_cast<double>(classes);
  const at::Tensor answers = kernel_regression(gram, known, asked, targets, ridge).argmax(1);
  return answers.eq(labels.index_select(0, asked)).to(at::kDouble).mean().item<double>();
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kDouble).contiguous();
  return {here.const_data_ptr<double>(), here.const_data_ptr<double>() + here.numel()};
}

std::vector<double> ranks(int64_t shown) {
  std::vector<double> rank(static_cast<size_t>(shown));
  std::iota(rank.begin(), rank.end(), 1.0);
  return rank;
}

}  // namespace

KernelStudy study_kernel(const models::ClipModel& model, const std::vector<data::Task>& tasks,
                         const KernelStudyOptions& options) {
  if (options.samples < 4) fail(ErrorCode::InvalidArgument, "{} samples a task; expected at least 4", options.samples);
  const Sample sample = sample_of(model, tasks, options);
  const at::ScalarType type = options.float64 ? at::kDouble : at::kFloat;
  const auto network = tangent::image_encoder(model.network, model.params.map([&](const std::string&, const at::Tensor& t) {
    return t.is_floating_point() ? t.to(options.device, type) : t.to(options.device);
  }));
  const Glob only(options.only);
  const int64_t width = model.network.config().projection_dim;
  const auto outputs = drawn_outputs(options.outputs, width, options.seed);
  const int64_t entries = sample.images.size(0) * sample.images.size(0);
  if (options.on_entries) options.on_entries(entries * (outputs.empty() ? width : static_cast<int64_t>(outputs.size())), true);
  const auto on_entries = [&](int64_t count) {
    if (options.on_entries) options.on_entries(count, false);
  };
  KernelStudy study;
  study.gram = tangent::ntk_gram(network, sample.images.to(options.device),
                                 {.outputs = outputs,
                                  .include = [&](const std::string& name) { return only.matches(name); },
                                  .memory = options.memory,
                                  .on_entries = on_entries})
                   .cpu();
  study.spectrum = spectrum(study.gram);
  const at::Tensor energy = local_energy(study.spectrum, sample.tasks, static_cast<int64_t>(tasks.size()));
  for (size_t t = 0; t < tasks.size(); ++t) {
    const at::Tensor own = sample.tasks.eq(static_cast<int64_t>(t)).nonzero().squeeze(1);
    const at::Tensor part = study.gram.index_select(0, own).index_select(1, own), labels = sample.labels.index_select(0, own);
    study.tasks.push_back({tasks[t].name, own.size(0), label_alignment(part, labels),
                           regression_accuracy(part, labels, static_cast<int64_t>(tasks[t].classes.size()), options.ridge),
                           energy.select(1, static_cast<int64_t>(t))});
  }
  return study;
}

report::LinePlot eigenvalue_plot(const KernelStudy& study) {
  const int64_t shown = std::min(kShown, study.spectrum.values.size(0));
  const at::Tensor values = study.spectrum.values.slice(0, 0, shown);
  return {.title = "Eigenvalues of the tangent kernel",
          .x_label = "eigenfunction",
          .y_label = "log10, of the largest",
          .x = ranks(shown),
          .series = {{"log10", numbers((values / values[0]).clamp_min(1e-16).log10())}},
          .levels = {},
          .chosen = {},
          .percent = false};
}

report::LinePlot energy_plot(const KernelStudy& study) {
  const int64_t shown = std::min(kShown, study.spectrum.values.size(0));
  report::LinePlot plot{.title = "Where eigenfunctions live",
                        .x_label = "eigenfunction, the largest eigenvalue first",
                        .y_label = "share of its energy",
                        .x = ranks(shown),
                        .series = {},
                        .levels = {},
                        .chosen = {}};
  for (const auto& task : study.tasks) plot.series.push_back({task.name, numbers(task.energy.slice(0, 0, shown))});
  return plot;
}

}  // namespace taskvec::analysis
