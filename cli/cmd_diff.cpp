#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/edit/compare.h"
#include "taskvec/edit/sources/match_sources.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>

namespace taskvec::cli {
namespace {

double mean_abs(const kernels::Difference& d) { return d.n == 0 ? 0 : d.sum_abs / static_cast<double>(d.n); }

/// Of the angle between the weights of both; 1 where both are zero.
double cosine(const kernels::Difference& d) {
  const double norms = std::sqrt(d.dot_aa) * std::sqrt(d.dot_bb);
  if (norms == 0) return d.dot_aa == d.dot_bb ? 1 : 0;
  return d.dot_ab / norms;
}

void print_json(const edit::Comparison& comparison) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::object();
  for (const auto& tensor : comparison.tensors) {
    tensors[tensor.name] = {{"same", tensor.same},
                            {"comparable", tensor.comparable},
                            {"max_abs", tensor.difference.max_abs},
                            {"mean_abs", mean_abs(tensor.difference)},
                            {"norm", std::sqrt(tensor.difference.sum_squares)},
                            {"cosine", cosine(tensor.difference)}};
  }
  const nlohmann::ordered_json json{{"same", comparison.same()},          {"norm", std::sqrt(comparison.total.sum_squares)},
                                    {"cosine", cosine(comparison.total)}, {"only_in_a", comparison.only_in_a},
                                    {"only_in_b", comparison.only_in_b},  {"tensors", tensors}};
  print_result("diff", json);
}

void print_text(const edit::Comparison& comparison) {
  int64_t same = 0;
  for (const auto& tensor : comparison.tensors) {
    same += tensor.same ? 1 : 0;
    if (tensor.same) continue;
    const auto& d = tensor.difference;
    if (!tensor.comparable) {
      print("different shape or dtype: {}\n", tensor.name);
    } else if (d.n == 0) {
      print("different integers: {}\n", tensor.name);
    } else {
      print("max {:9.3g}  mean {:9.3g}  norm {:9.3g}  {}\n", d.max_abs, mean_abs(d), std::sqrt(d.sum_squares), tensor.name);
    }
  }
  for (const auto& name : comparison.only_in_a) print("only in the first: {}\n", name);
  for (const auto& name : comparison.only_in_b) print("only in the second: {}\n", name);
  if (comparison.total.non_finite > 0) print("NaN or infinite in either: {} elements\n", comparison.total.non_finite);
  print("{} of {} tensors are the same\nnorm of the task vector {:.6g}, cosine of the weights {:.6g}\n", same,
        comparison.tensors.size(), std::sqrt(comparison.total.sum_squares), cosine(comparison.total));
}

}  // namespace

void add_diff_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("diff", "Compare two checkpoints tensor by tensor\n\nExit status 0: same, 1: different, 2: trouble.\n");
  auto paths = std::make_shared<std::pair<std::string, std::string>>();
  auto json = std::make_shared<bool>(false), quiet = std::make_shared<bool>(false);
  by_name(command->add_option("A", paths->first, "the first checkpoint, e.g. the base"))->required();
  by_name(command->add_option("B", paths->second, "the second one, e.g. a fine-tune of it"))->required();
  auto vocabulary = std::make_shared<edit::Vocabulary>(edit::Vocabulary::Same);
  add_vocabulary_option(*command, *vocabulary);
  command->add_flag("--json", *json, "one JSON object on stdout");
  command->add_flag("-q,--quiet", *quiet, "nothing but the exit status");
  command->callback([=] {
    const auto matched = edit::match_sources({formats::open(paths->first), formats::open(paths->second)},
                                             {paths->first, paths->second}, /*base=*/0, *vocabulary);
    for (const auto& line : matched.notes) note("{}", line);
    for (const auto& line : matched.warnings) warn("{}", line);
    const auto comparison = edit::compare(*matched.sources[0], *matched.sources[1]);
    if (*json) print_json(comparison);
    if (!*json && !*quiet) print_text(comparison);
    if (!comparison.same()) throw Differs{};
  });
}

}  // namespace taskvec::cli
