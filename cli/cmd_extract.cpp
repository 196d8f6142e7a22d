#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/extract/extract.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string base, finetuned, output, dtype = "F32";
  double density = 0;
  bool sign = false, lossless = false, force = false, json = false;
  edit::ExtractOptions options;
};

void print_json(const Arguments& arguments, const edit::ExtractSummary& summary) {
  print_result("extract", nlohmann::ordered_json{{"output", arguments.output},
                                                 {"kind", formats::name(arguments.options.kind)},
                                                 {"tensors", summary.tensors},
                                                 {"whole", summary.whole},
                                                 {"bytes", summary.bytes},
                                                 {"dense_bytes", summary.dense_bytes},
                                                 {"relative_error", summary.relative_error},
                                                 {"base_fingerprint", summary.base_fingerprint},
                                                 {"finetuned_fingerprint", summary.finetuned_fingerprint},
                                                 {"seconds", summary.seconds}});
}

void print_text(const Arguments& arguments, const edit::ExtractSummary& summary) {
  const bool lossless = arguments.options.kind == formats::DeltaKind::Lossless;
  const double share =
      summary.dense_bytes == 0 ? 0 : 100.0 * static_cast<double>(summary.bytes) / static_cast<double>(summary.dense_bytes);
  print("{}: {}, {}, {}: {:.3g} % of the {} of {}; relative error {:.3g}; {}\n", arguments.output,
        formats::name(arguments.options.kind), format_count(summary.tensors, "tensor"),
        format_bytes(static_cast<double>(summary.bytes)), share, format_bytes(static_cast<double>(summary.dense_bytes)),
        lossless ? "the checkpoint" : "a dense F32 one", summary.relative_error, format_seconds(summary.seconds));
  if (summary.whole > 0)
    print("{} tensors have no counterpart of their dtype and shape in the base: stored whole\n", summary.whole);
}

void run_extract(Arguments& arguments) {
  auto& options = arguments.options;
  if (arguments.density != 0) {
    options.kind = formats::DeltaKind::Sparse;
    options.density = arguments.density;
  } else if (options.random) {
    fail(ErrorCode::InvalidArgument, "--random needs a share to keep, e.g. --sparse 0.1 --random");
  }
  if (arguments.sign) options.kind = formats::DeltaKind::Sign;
  if (options.rank != 0) options.kind = formats::DeltaKind::Rank;
  if (arguments.lossless) options.kind = formats::DeltaKind::Lossless;
  options.dtype = parse_dtype_option(arguments.dtype);
  const edit::Bindings sources{{"base", formats::open(arguments.base)}, {"ft", formats::open(arguments.finetuned)}};
  check_output(arguments.output, arguments.force, sources);
  if (arguments.lossless && options.vocabulary != edit::Vocabulary::Same)
    fail(ErrorCode::InvalidArgument, "--lossless stores every row of the fine-tune; it goes without --vocab");
  if (options.vocabulary == edit::Vocabulary::Pad)
    fail(
        ErrorCode::InvalidArgument,
        "--vocab pad: the vector would belong to a base of more tokens than {} has, and could be put on no model; --vocab common "
        "or base makes one for it, --lossless keeps every row of the fine-tune",
        arguments.base);
  const auto summary = edit::extract(sources.at("base"), sources.at("ft"), options, arguments.output);
  for (const auto& line : summary.notes) note("{}", line);
  arguments.json ? print_json(arguments, summary) : print_text(arguments, summary);
}

}  // namespace

void add_extract_command(CLI::App& app) {
  auto* command = app.add_subcommand("extract",
                                     "Write the task vector FT - BASE as a file\n\nFor expressions and `apply`.\n\n"
                                     "  every difference          extract base ft -o tv.safetensors --dtype BF16\n"
                                     "  the largest tenth         extract base ft -o tv.safetensors --sparse 0.1\n"
                                     "  a random tenth, rescaled  extract base ft -o tv.safetensors --sparse 0.1 --random\n"
                                     "  signs and a scale         extract base ft -o tv.safetensors --sign\n"
                                     "  two factors per matrix    extract base ft -o tv.safetensors --rank 16\n"
                                     "  exact and small           extract base ft -o tv.safetensors --lossless\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("BASE", arguments->base, "the pre-trained checkpoint"))->required();
  by_name(command->add_option("FT", arguments->finetuned, "a fine-tune of it"))->required();
  command->add_option("-o,--output", arguments->output, "a .safetensors file, or a folder")->required();
  command->add_option("--dtype", arguments->dtype, "of the values of a dense or sparse one: F32 or BF16");
  auto* sparse =
      command->add_option("--sparse", arguments->density, "keep this share of the elements: the largest of each tensor");
  sparse->check(CLI::PositiveNumber);
  command->add_flag("--random", arguments->options.random, "with --sparse: a random share, divided by it (DARE)");
  add_seed_option(*command, arguments->options.seed, "of --random and of --rank");
  auto* sign = command->add_flag("--sign", arguments->sign, "one bit per element and the mean magnitude per tensor");
  auto* rank = command->add_option("--rank", arguments->options.rank,
                                   "factors of this rank per matrix, by a randomised SVD; other tensors stay dense");
  rank->check(CLI::PositiveNumber);
  auto* lossless =
      command->add_flag("--lossless", arguments->lossless, "`apply` gives the fine-tuned checkpoint back bit for bit");
  sparse->excludes(sign)->excludes(rank)->excludes(lossless);
  sign->excludes(rank)->excludes(lossless);
  rank->excludes(lossless);
  add_vocabulary_option(*command, arguments->options.vocabulary);
  command->add_flag("--allow-differing-integers", arguments->options.allow_differing_integers,
                    "leave tensors that are no floats as they are in the base");
  command->add_flag("--force", arguments->force, "replace an existing output");
  command->add_flag("--json", arguments->json, "the summary as JSON");
  command->callback([=] { run_extract(*arguments); });
}

}  // namespace taskvec::cli
