#include "cli/commands.h"
#include "cli/common.h"

#include <fmt/format.h>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string input, output, format, dtype;
  bool force = false, json = false;
};

/// A conversion is the edit `in`: the same tiles, cores, rounding and provenance.
void run_convert(const Arguments& arguments) {
  const auto format = arguments.format.empty() ? formats::output_of(arguments.output) : formats::parse_output(arguments.format);
  edit::PlanOptions options;
  if (!arguments.dtype.empty()) options.dtype = parse_dtype_option(arguments.dtype);
  const edit::Bindings bindings{{"in", formats::open(arguments.input)}};
  const auto plan = edit::plan(edit::parse("in"), bindings, options);
  check_output(arguments.output, arguments.force, bindings);
  note_left_behind(*plan.sources[plan.base], format);
  print_summary("convert", edit::run(plan, arguments.output, format), arguments.output, arguments.json);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  auto* command = app.add_subcommand("convert",
                                     "Write a checkpoint in another format or precision\n\n"
                                     "  taskvec convert model.gguf model.safetensors --dtype BF16\n"
                                     "  taskvec convert model/ model.gguf\n"
                                     "  taskvec convert model/ arrays.npz --dtype F32\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("IN", arguments->input, "a checkpoint of any format that taskvec reads"))->required();
  command->add_option("OUT", arguments->output, "a .safetensors, .gguf, .npz or .npy file, or a folder")->required();
  command->add_option("--to", arguments->format, "safetensors, gguf, npz, npy or folder (default: by OUT's extension)");
  command->add_option("--dtype", arguments->dtype, "of the output's float tensors (default: as they are)");
  command->add_flag("--force", arguments->force, "replace an existing output");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  command->callback([=] { run_convert(*arguments); });
}

}  // namespace taskvec::cli
