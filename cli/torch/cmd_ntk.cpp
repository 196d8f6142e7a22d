#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/analysis/kernel.h"
#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/glob.h"
#include "taskvec/core/progress.h"
#include "taskvec/core/random.h"
#include "taskvec/report/plot.h"
#include "taskvec/report/result_folder.h"
#include "taskvec/report/table.h"
#include "taskvec/tangent/ntk.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <numeric>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string model, output, only = "*", split = "test", device = "cpu";
  std::vector<std::string> tasks;
  int64_t samples = 100, outputs = 4;
  uint64_t seed = 0, memory = 1'000'000'000;
  double ridge = 1e-3;
  bool float64 = false, json = false, force = false;
};

/// The samples of all tasks, one task after the other.
struct Sample {
  at::Tensor images, tasks, labels;  // tasks: which one, int64
};

Sample sample_of(const std::vector<data::Task>& tasks, const models::ClipModel& model, const Arguments& arguments) {
  std::vector<at::Tensor> images, labels, owners;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const data::Loader loader(data::open_dataset(tasks[t], parse_split(arguments.split), arguments.samples),
                              data::Preprocess::open(model.path, model.network.config().image_size));
    std::vector<int64_t> all(static_cast<size_t>(loader.size()));
    std::iota(all.begin(), all.end(), 0);
    images.push_back(loader.images(all));
    labels.push_back(loader.labels(all));
    owners.push_back(at::full({loader.size()}, static_cast<int64_t>(t), at::kLong));
  }
  const at::Tensor pixels = at::cat(images);
  return {arguments.float64 ? pixels.to(at::kDouble) : pixels, at::cat(owners), at::cat(labels)};
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
  const at::Tensor answers = analysis::kernel_regression(gram, known, asked, targets, ridge).argmax(1);
  return answers.eq(labels.index_select(0, asked)).to(at::kDouble).mean().item<double>();
}

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kDouble).contiguous();
  return {here.const_data_ptr<double>(), here.const_data_ptr<double>() + here.numel()};
}

void write_pictures(const std::filesystem::path& folder, const analysis::Spectrum& spectrum, const at::Tensor& energy,
                    const std::vector<data::Task>& tasks) {
  constexpr int64_t kShown = 60;
  const int64_t shown = std::min(kShown, spectrum.values.size(0));
  std::vector<double> rank(static_cast<size_t>(shown));
  std::iota(rank.begin(), rank.end(), 1.0);
  report::LinePlot eigenvalues{.title = "Eigenvalues of the tangent kernel",
                               .x_label = "eigenfunction",
                               .y_label = "log10, of the largest",
                               .x = rank,
                               .series = {},
                               .levels = {},
                               .chosen = {},
                               .percent = false};
  const at::Tensor values = spectrum.values.slice(0, 0, shown);
  eigenvalues.series.push_back({"log10", numbers((values / values[0]).clamp_min(1e-16).log10())});
  report::write_picture(folder / "eigenvalues", eigenvalues);
  report::LinePlot where{.title = "Where eigenfunctions live",
                         .x_label = "eigenfunction, the largest eigenvalue first",
                         .y_label = "share of its energy",
                         .x = rank,
                         .series = {},
                         .levels = {},
                         .chosen = {}};
  for (size_t t = 0; t < tasks.size(); ++t)
    where.series.push_back({tasks[t].name, numbers(energy.select(1, static_cast<int64_t>(t)).slice(0, 0, shown))});
  report::write_picture(folder / "local-energy", where);
}

void run_ntk(const Arguments& arguments) {
  const auto tasks = load_tasks(arguments.tasks);
  if (arguments.samples < 4) fail(ErrorCode::InvalidArgument, "--samples {}: expected at least 4 a task", arguments.samples);
  const report::ResultFolder folder{
      arguments.output, "ntk", "ntk.json", {"eigenvalues.png", "eigenvalues.svg", "local-energy.png", "local-energy.svg"}};
  if (!arguments.output.empty()) folder.claim(arguments.force);
  bridge::configure_torch();
  const models::ClipModel model = models::open_clip(arguments.model);
  const Sample sample = sample_of(tasks, model, arguments);
  const at::Device device = bridge::parse_device(arguments.device);
  const at::ScalarType type = arguments.float64 ? at::kDouble : at::kFloat;
  const auto network = tangent::image_encoder(model.network, model.params.map([&](const std::string&, const at::Tensor& t) {
    return t.is_floating_point() ? t.to(device, type) : t.to(device);
  }));
  const Glob only(arguments.only);
  const auto outputs = drawn_outputs(arguments.outputs, model.network.config().projection_dim, arguments.seed);
  const int64_t entries = sample.images.size(0) * sample.images.size(0);
  Progress progress("tangent kernel",
                    entries * (outputs.empty() ? model.network.config().projection_dim : static_cast<int64_t>(outputs.size())),
                    "entries");
  const at::Tensor gram = tangent::ntk_gram(network, sample.images.to(device),
                                            {.outputs = outputs,
                                             .include = [&](const std::string& name) { return only.matches(name); },
                                             .memory = static_cast<int64_t>(arguments.memory),
                                             .on_entries = [&](int64_t count) { progress.add(count); }})
                              .cpu();
  const analysis::Spectrum spectrum = analysis::spectrum(gram);
  const at::Tensor energy = analysis::local_energy(spectrum, sample.tasks, static_cast<int64_t>(tasks.size()));

  ordered_json json{{"samples", gram.size(0)}, {"split", arguments.split}, {"eigenvalues", numbers(spectrum.values)}};
  report::Table table({"task", "alignment with labels", "kernel regression", "energy of the top ten"});
  for (size_t t = 0; t < tasks.size(); ++t) {
    const at::Tensor own = sample.tasks.eq(static_cast<int64_t>(t)).nonzero().squeeze(1);
    const at::Tensor part = gram.index_select(0, own).index_select(1, own), labels = sample.labels.index_select(0, own);
    const double aligned = analysis::label_alignment(part, labels);
    const double accuracy = regression_accuracy(part, labels, static_cast<int64_t>(tasks[t].classes.size()), arguments.ridge);
    const at::Tensor share = energy.select(1, static_cast<int64_t>(t));
    json["tasks"][tasks[t].name] = {
        {"samples", own.size(0)}, {"alignment", aligned}, {"regression_accuracy", accuracy}, {"energy", numbers(share)}};
    table.row({tasks[t].name, fmt::format("{:.3f}", aligned), report::percent(accuracy),
               report::percent(share.slice(0, 0, 10).mean().item<double>())});
  }
  if (!arguments.output.empty()) {
    write_pictures(folder.path, spectrum, energy, tasks);
    for (int64_t i = 0; i < gram.size(0); ++i) json["gram"].push_back(numbers(gram[i]));
    folder.write(json);
    json.erase("gram");
  }
  if (arguments.json) {
    print_result("ntk", json);
  } else {
    table.print();
    print("on {} images of the {} splits, half of them known and half asked in kernel regression\n", gram.size(0),
          arguments.split);
  }
}

}  // namespace

void add_ntk_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "ntk",
      "The tangent kernel of an image encoder on tasks\n\n"
      "  taskvec ntk -m assets/pocket-clip -t mnist -t glyphs -o ntk\n\n"
      "Weights change a network's outputs through the kernel's eigenfunctions. Where those of one task have no energy on "
      "another,\n"
      "training on the one leaves the other alone. Kernel regression answers every second sample from the others.\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("-m,--model", arguments->model, "a CLIP folder"))->required();
  command->add_option("-t,--task", arguments->tasks, "built-in tasks or .yaml files")->required();
  command->add_option("--samples", arguments->samples, "images a task")->capture_default_str();
  command->add_option("--outputs", arguments->outputs, "output coordinates that are drawn and summed over; 0: all")
      ->capture_default_str();
  command->add_option("--only", arguments->only, "parameters of this pattern alone, e.g. '*.self_attn.*'")->capture_default_str();
  add_split_option(*command, arguments->split);
  command->add_option("--ridge", arguments->ridge, "of kernel regression, in means of the kernel's diagonal")
      ->capture_default_str();
  add_seed_option(*command, arguments->seed, "of the output coordinates");
  command->add_option("--memory", arguments->memory, "for gradients, e.g. 4G")
      ->transform(CLI::AsSizeValue(true))
      ->default_str("1G");
  command->add_flag("--float64", arguments->float64, "compute in float64");
  command->add_option("-o,--output", arguments->output, "a folder for ntk.json, with the kernel, and two pictures");
  add_device_option(*command, arguments->device);
  command->add_flag("--force", arguments->force, "replace earlier results in OUTPUT");
  command->add_flag("--json", arguments->json, "the figures as JSON");
  command->callback([=] { run_ntk(*arguments); });
}

}  // namespace taskvec::cli
