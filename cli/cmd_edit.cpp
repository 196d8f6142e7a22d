#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/lora_sum.h"
#include "taskvec/edit/match_names.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string expression, output, dtype, map;
  std::vector<std::string> sources, coefficients;
  edit::PlanOptions options;
  bool dry_run = false, force = false, json = false, as_lora = false;
};

void run_edit(Arguments& arguments) {
  arguments.options.coefficients = parse_coefficients(arguments.coefficients);
  if (!arguments.dtype.empty()) {
    arguments.options.dtype = parse_dtype(arguments.dtype);
    if (!arguments.options.dtype)
      fail(ErrorCode::InvalidArgument, "--dtype {}: no such dtype; try BF16, F16 or F32", arguments.dtype);
  }
  const auto expression = edit::parse(arguments.expression);
  auto sources = open_sources(arguments.sources);
  if (!arguments.map.empty())
    for (const auto& [source, map] : edit::match_names(expression, sources, arguments.options.base, arguments.map))
      fmt::print(stderr, "source '{}' is read with the name map {}\n", source, map);
  const auto plan = edit::plan(expression, sources, arguments.options);
  if (arguments.dry_run) {
    fmt::print("{}", edit::describe(plan));
    return;
  }
  if (arguments.output.empty())
    fail(ErrorCode::InvalidArgument, "give the output with -o PATH, or look at the plan with --dry-run");
  if (std::filesystem::exists(arguments.output) && !arguments.force)
    fail(ErrorCode::InvalidArgument, "{} is there already; --force replaces it", arguments.output);
  for (const auto& warning : plan.warnings) fmt::print(stderr, "warning: {}\n", warning);
  const auto summary = arguments.as_lora ? edit::write_as_lora(plan, arguments.output) : edit::run(plan, arguments.output);
  if (summary.non_finite > 0)
    fmt::print(stderr, "warning: {} elements of the output are NaN or infinite; {} of them overflowed its dtype\n",
               summary.non_finite, summary.overflowed);
  const double rate = static_cast<double>(summary.bytes_read + summary.bytes_written) / std::max(summary.seconds, 1e-9);
  if (arguments.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"output", arguments.output},
                                              {"tensors", summary.tensors},
                                              {"bytes_read", summary.bytes_read},
                                              {"bytes_written", summary.bytes_written},
                                              {"seconds", summary.seconds},
                                              {"non_finite", summary.non_finite},
                                              {"overflowed", summary.overflowed}}
                           .dump());
  } else {
    fmt::print("{}: {} tensors, {} in {} ({}/s read and written)\n", arguments.output, summary.tensors,
               format_bytes(static_cast<double>(summary.bytes_written)), format_seconds(summary.seconds), format_bytes(rate));
  }
}

}  // namespace

void add_edit_command(CLI::App& app) {
  auto* command = app.add_subcommand("edit",
                                     "Write the checkpoint that an expression over checkpoints describes\n\n"
                                     "  negation       'base - 0.4*(ft - base)'\n"
                                     "  addition       'base + 0.3*(a - base) + 0.3*(b - base)'\n"
                                     "  analogy        'c + (b - a)'\n"
                                     "  patching       'interpolate(base, ft, 0.3)'\n"
                                     "  some tensors   'base + 0.3*(ft - base) @ \"vision_model.*\"'\n"
                                     "  coefficients   'base + $x*(ft - base)' --set x=0.4\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("EXPR", arguments->expression, "the edit")->required();
  command->add_option("-s,--source", arguments->sources, "a source of the expression: name=path")->required();
  command->add_option("-o,--output", arguments->output, "a .safetensors file, or a folder");
  command->add_option("--set", arguments->coefficients, "the value of a coefficient: name=number");
  command->add_option("--dtype", arguments->dtype, "of the output's float tensors (default: the base's)");
  command->add_option("--base", arguments->options.base,
                      "source of config, tokenizer and non-float tensors (default: the first)");
  command->add_option("--map", arguments->map, "bring sources under the base's names: auto, or a name map such as openai-clip");
  command->add_flag("--allow-missing", arguments->options.allow_missing, "copy tensors that some sources lack");
  command->add_flag("--allow-differing-integers", arguments->options.allow_differing_integers,
                    "take non-float tensors from the base");
  command->add_flag("--as-lora", arguments->as_lora, "write a sum of LoRA adapters as an adapter, ranks concatenated");
  command->add_flag("--dry-run", arguments->dry_run, "check everything and print the plan; write nothing");
  command->add_flag("--force", arguments->force, "replace an existing output");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  add_threads_option(*command);
  command->callback([=] { run_edit(*arguments); });
}

}  // namespace taskvec::cli
