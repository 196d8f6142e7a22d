#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/analysis/kernel_study.h"
#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/report/result_folder.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string model, output, split = "test", device = "cpu";
  std::vector<std::string> tasks;
  uint64_t memory = 1'000'000'000;
  analysis::KernelStudyOptions options;
  bool json = false, force = false;
};

std::vector<double> numbers(const at::Tensor& tensor) {
  const at::Tensor here = tensor.to(at::kDouble).contiguous();
  return {here.const_data_ptr<double>(), here.const_data_ptr<double>() + here.numel()};
}

void run_ntk(const Arguments& arguments) {
  const auto tasks = load_tasks(arguments.tasks);
  const report::ResultFolder folder{
      arguments.output, "ntk", "ntk.json", {"eigenvalues.png", "eigenvalues.svg", "local-energy.png", "local-energy.svg"}};
  if (!arguments.output.empty()) folder.claim(arguments.force);
  bridge::configure_torch();
  std::optional<Progress> progress;
  analysis::KernelStudyOptions options = arguments.options;
  options.split = parse_split(arguments.split);
  options.device = bridge::parse_device(arguments.device);
  options.memory = static_cast<int64_t>(arguments.memory);
  options.on_entries = [&](int64_t entries, bool total) {
    if (total)
      progress.emplace("tangent kernel", entries, "entries");
    else
      progress->add(entries);
  };
  const auto study = analysis::study_kernel(models::open_clip(arguments.model), tasks, options);
  progress.reset();

  ordered_json json{{"samples", study.gram.size(0)}, {"split", arguments.split}, {"eigenvalues", numbers(study.spectrum.values)}};
  report::Table table({"task", "alignment with labels", "kernel regression", "energy of the top ten"});
  for (const auto& task : study.tasks) {
    json["tasks"][task.name] = {{"samples", task.samples},
                                {"alignment", task.alignment},
                                {"regression_accuracy", task.regression_accuracy},
                                {"energy", numbers(task.energy)}};
    table.row({task.name, fmt::format("{:.3f}", task.alignment), report::percent(task.regression_accuracy),
               report::percent(task.energy.slice(0, 0, 10).mean().item<double>())});
  }
  if (!arguments.output.empty()) {
    report::write_picture(folder.path / "eigenvalues", analysis::eigenvalue_plot(study));
    report::write_picture(folder.path / "local-energy", analysis::energy_plot(study));
    for (int64_t i = 0; i < study.gram.size(0); ++i) json["gram"].push_back(numbers(study.gram[i]));
    folder.write(json);
    json.erase("gram");
  }
  if (arguments.json) {
    print_result("ntk", json);
  } else {
    table.print();
    print("on {} images of the {} splits, half of them known and half asked in kernel regression\n", study.gram.size(0),
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
  command->add_option("--samples", arguments->options.samples, "images a task")->capture_default_str();
  command->add_option("--outputs", arguments->options.outputs, "output coordinates that are drawn and summed over; 0: all")
      ->capture_default_str();
  command->add_option("--only", arguments->options.only, "parameters of this pattern alone, e.g. '*.self_attn.*'")
      ->capture_default_str();
  add_split_option(*command, arguments->split);
  command->add_option("--ridge", arguments->options.ridge, "of kernel regression, in means of the kernel's diagonal")
      ->capture_default_str();
  add_seed_option(*command, arguments->options.seed, "of the output coordinates");
  command->add_option("--memory", arguments->memory, "for gradients, e.g. 4G")
      ->transform(CLI::AsSizeValue(true))
      ->default_str("1G");
  command->add_flag("--float64", arguments->options.float64, "compute in float64");
  command->add_option("-o,--output", arguments->output, "a folder for ntk.json, with the kernel, and two pictures");
  add_device_option(*command, arguments->device);
  command->add_flag("--force", arguments->force, "replace earlier results in OUTPUT");
  command->add_flag("--json", arguments->json, "the figures as JSON");
  command->callback([=] { run_ntk(*arguments); });
}

}  // namespace taskvec::cli
