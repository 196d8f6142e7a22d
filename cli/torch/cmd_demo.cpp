#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/core/console.h"
#include "taskvec/core/files/paths.h"
#include "taskvec/demo/demo.h"

#include <cstdio>
#include <memory>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string model, output = "demo";
  demo::DemoOptions options;
  bool json = false, quick = false;
};

void run(Arguments& arguments) {
  arguments.options.model = arguments.model.empty() ? assets_dir() / "pocket-clip" : std::filesystem::path(arguments.model);
  arguments.options.output = arguments.output;
  const auto results = demo::run_demo(arguments.quick ? demo::quick(arguments.options) : arguments.options);
  if (arguments.json) {
    print_result("demo", results);
  } else {
    print("\n{}\n{}: results.json, pictures (*.png), models/\n", demo::summary(results), arguments.output);
  }
}

}  // namespace

void add_demo_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("demo",
                         "The whole idea: fine-tune, then forget, add and patch\n\n"
                         "  taskvec demo --quick    one task, in half a minute\n"
                         "  taskvec demo            five tasks, in some minutes\n\n"
                         "Starts from assets/pocket-clip and writes models, figures (results.json) and pictures to demo/.\n");
  auto arguments = std::make_shared<Arguments>();
  demo::DemoOptions& options = arguments->options;
  command->add_option("-o,--output", arguments->output, "the folder to write")->capture_default_str();
  by_name(command->add_option("-m,--model", arguments->model, "a CLIP folder (default: assets/pocket-clip)"));
  command->add_flag("--quick", arguments->quick, "less of everything: the first task alone, fewer steps and images");
  command->add_option("-t,--task", options.tasks, "tasks to learn; the first is also forgotten")->capture_default_str();
  command->add_option("--control", options.control, "the task that edits must not hurt")->capture_default_str();
  command->add_option("--steps", options.steps, "of fine-tuning, per task")->capture_default_str();
  command->add_option("--linear-steps", options.linear_steps, "of fine-tuning in the tangent space, of the first task")
      ->capture_default_str();
  command->add_option("--keep", options.keep, "share of the control's accuracy that a negation keeps on val")
      ->capture_default_str();
  command->add_option("--patch-keep", options.patch_keep, "likewise, of a patch")->capture_default_str();
  command->add_option("--val-limit", options.val_limit, "images a task that coefficients are chosen on")->capture_default_str();
  command->add_option("--test-limit", options.test_limit, "images a task that the figures are of")->capture_default_str();
  add_seed_option(*command, options.seed, "of the fine-tuning");
  add_device_option(*command, options.device);
  add_precision_option(*command, options.precision);
  command->add_flag("--json", arguments->json, "results.json on stdout");
  command->callback([=] { run(*arguments); });
}

}  // namespace taskvec::cli
