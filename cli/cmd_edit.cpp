#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/edit/executors/lora_sum.h"

#include <fmt/format.h>

#include <cstdio>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string expression, output, dtype, on_overflow = "report", mode = "auto";
  std::vector<std::string> sources, coefficients;
  SourceOptions bring;
  bool dry_run = false, force = false, json = false, as_lora = false;
};

edit::OnOverflow parse_on_overflow(const std::string& text) {
  if (text == "error") return edit::OnOverflow::Error;
  return text == "saturate" ? edit::OnOverflow::Saturate : edit::OnOverflow::Report;
}

void run_edit(Arguments& arguments) {
  edit::PlanOptions& options = arguments.bring.plan;
  options.on_overflow = parse_on_overflow(arguments.on_overflow);
  if (arguments.mode != "auto") options.mode = arguments.mode == "linear" ? edit::Mode::Linear : edit::Mode::Standard;
  options.coefficients = parse_coefficients(arguments.coefficients);
  if (!arguments.dtype.empty()) options.dtype = parse_dtype_option(arguments.dtype);
  if (arguments.expression.ends_with(".yml") || arguments.expression.ends_with(".yaml"))
    fail(ErrorCode::InvalidArgument,
         "{}: recipes are not read; write the merge as an expression, as in 'base + 0.3*(a - base) + 0.3*(b - base)'",
         arguments.expression);
  const auto expression = edit::parse(arguments.expression);
  const auto sources = open_sources(arguments.sources, expression, arguments.bring);
  const auto plan = edit::plan(expression, sources, options);
  for (const auto& line : plan.notes) note("{}", line);
  if (!arguments.output.empty()) check_output(arguments.output, arguments.force, sources);
  if (arguments.dry_run) {
    if (arguments.json) {
      print_result("edit", {{"plan", edit::describe(plan)}, {"warnings", plan.warnings}});
    } else {
      print("{}", edit::describe(plan));
    }
    return;
  }
  if (arguments.output.empty())
    fail(ErrorCode::InvalidArgument, "give the output with -o PATH, or look at the plan with --dry-run");
  for (const auto& warning : plan.warnings) warn("{}", warning);
  if (!arguments.as_lora) note_left_behind(*plan.sources[plan.base], formats::output_of(arguments.output));
  print_summary("edit", arguments.as_lora ? edit::write_as_lora(plan, arguments.output) : edit::run(plan, arguments.output),
                arguments.output, arguments.json, options.on_overflow == edit::OnOverflow::Saturate);
}

}  // namespace

void add_edit_command(CLI::App& app) {
  std::string methods;
  for (const edit::Method& method : edit::methods()) methods += fmt::format("  {:14} {}\n", method.name, method.summary);
  auto* command = app.add_subcommand("edit",
                                     "Write the checkpoint that an expression over checkpoints describes\n\n"
                                     "  negation       'base - 0.4*(ft - base)'\n"
                                     "  addition       'base + 0.3*(a - base) + 0.3*(b - base)'\n"
                                     "  analogy        'c + (b - a)'\n"
                                     "  patching       'interpolate(base, ft, 0.3)'\n"
                                     "  merging        'base + ties(a - base, b - base, density=0.2)'\n"
                                     "  some tensors   'base + 0.3*(ft - base) @ \"vision_model.*\"'\n"
                                     "  coefficients   'base + $x*(ft - base)' --set x=0.4\n\n"
                                     "Methods over task vectors (docs/edit.md has their parameters):\n\n" +
                                         methods);
  auto arguments = std::make_shared<Arguments>();
  command->add_option("EXPR", arguments->expression, "the edit")->required();
  command->add_option("-s,--source", arguments->sources, "a source of the expression: name=path")->required();
  command->add_option("-o,--output", arguments->output, "a .safetensors, .gguf, .npz or .npy file, or a folder");
  command->add_option("--set", arguments->coefficients, "the value of a coefficient: name=number");
  command->add_option("--dtype", arguments->dtype, "of the output's float tensors (default: the base's)");
  command->add_option("--base", arguments->bring.plan.base,
                      "source of config, tokenizer and non-float tensors (default: the first that is a model)");
  add_source_options(*command, arguments->bring);
  command
      ->add_option("--on-overflow", arguments->on_overflow,
                   "elements too large for the output's dtype: report, error or saturate")
      ->check(CLI::IsMember({"report", "error", "saturate"}));
  command
      ->add_option("--mode", arguments->mode,
                   "what a sum of ordinary models and models of a tangent space is meant as: standard or linear")
      ->check(CLI::IsMember({"auto", "standard", "linear"}));
  command->add_flag("--as-lora", arguments->as_lora, "write a sum of LoRA adapters as an adapter, ranks concatenated");
  command->add_flag("--dry-run", arguments->dry_run, "check everything and print the plan; write nothing");
  command->add_flag("--force", arguments->force, "replace an existing output");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  command->callback([=] { run_edit(*arguments); });
}

}  // namespace taskvec::cli
