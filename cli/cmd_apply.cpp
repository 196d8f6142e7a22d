#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/extract/apply.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string base, task_vector, output;
  double scale = 1;
  bool any_base = false, force = false, json = false;
};

void run_apply(const Arguments& arguments) {
  const edit::Bindings sources{{"base", formats::open(arguments.base)}, {"tv", formats::open(arguments.task_vector)}};
  check_output(arguments.output, arguments.force, sources);
  note_left_behind(*sources.at("base"), formats::output_of(arguments.output));
  const auto [summary, fingerprint] =
      edit::apply(sources.at("base"), sources.at("tv"), arguments.scale, arguments.any_base, arguments.output);
  if (arguments.json) {
    print_result("apply", nlohmann::ordered_json{{"output", arguments.output},
                                                 {"tensors", summary.tensors},
                                                 {"bytes_written", summary.bytes_written},
                                                 {"seconds", summary.seconds},
                                                 {"restored_fingerprint", fingerprint}});
    return;
  }
  print_warnings(summary, /*saturated=*/false);
  print("{}: {}, {} in {}\n", arguments.output, format_count(summary.tensors, "tensor"),
        format_bytes(static_cast<double>(summary.bytes_written)), format_seconds(summary.seconds));
  if (!fingerprint.empty()) print("fingerprint {}, equal to the recorded one\n", fingerprint);
}

}  // namespace

void add_apply_command(CLI::App& app) {
  auto* command = app.add_subcommand("apply",
                                     "Put a task vector's file back on its base\n\nThe fine-tuned checkpoint bit for bit from a "
                                     "lossless one, else BASE + TV.\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("BASE", arguments->base, "the checkpoint that the task vector was made from"))->required();
  by_name(command->add_option("TV", arguments->task_vector, "what `taskvec extract` wrote"))->required();
  command->add_option("-o,--output", arguments->output, "a .safetensors file, or a folder")->required();
  command->add_option("--scale", arguments->scale, "factor of the task vector; not for lossless ones");
  command->add_flag("--any-base", arguments->any_base, "apply it also to a model that is not its base");
  command->add_flag("--force", arguments->force, "replace an existing output");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  command->callback([=] { run_apply(*arguments); });
}

}  // namespace taskvec::cli
