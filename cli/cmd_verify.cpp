#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/formats/verify.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace taskvec::cli {
namespace {

std::map<std::string_view, int64_t> count_dtypes(const formats::Verification& found) {
  std::map<std::string_view, int64_t> dtypes;
  for (const auto& tensor : found.tensors) ++dtypes[name(tensor.info.dtype)];
  return dtypes;
}

void print_json(const std::string& path, const formats::Verification& found) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array(), files = nlohmann::ordered_json::array();
  for (const auto& file : found.files) files.push_back(file.string());
  for (const auto& tensor : found.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"dtype", name(tensor.info.dtype)},
                       {"shape", tensor.info.shape},
                       {"nan", tensor.nan},
                       {"infinite", tensor.infinite}});
  const nlohmann::ordered_json json{{"path", path},
                                    {"ok", found.ok()},
                                    {"problems", found.problems},
                                    {"format", found.format},
                                    {"fingerprint", found.fingerprint},
                                    {"nbytes", found.nbytes()},
                                    {"dtypes", count_dtypes(found)},
                                    {"files", files},
                                    {"not_read", found.unread},
                                    {"tensors", tensors}};
  print_result("verify", json);
}

void print_text(const std::string& path, const formats::Verification& found) {
  for (const auto& problem : found.problems) print("problem: {}\n", problem);
  print("{}: {}\n", path, found.ok() ? "ok" : format_count(static_cast<int64_t>(found.problems.size()), "problem"));
  if (found.format.empty()) return;
  print("  {}, {}, {}, {}\n", found.format, format_count(static_cast<int64_t>(found.files.size()), "file"),
        format_count(static_cast<int64_t>(found.tensors.size()), "tensor"), format_bytes(static_cast<double>(found.nbytes())));
  for (const auto& [dtype, count] : count_dtypes(found)) print("  {} of {}\n", format_count(count, "tensor"), dtype);
  for (const auto& file : found.unread) print("  not read, as it is no part of this checkpoint: {}\n", file);
  if (!found.fingerprint.empty()) print("  fingerprint {}\n", found.fingerprint);
}

}  // namespace

void add_verify_command(CLI::App& app) {
  auto* command = app.add_subcommand("verify",
                                     "Check every rule of a checkpoint's format\n\n"
                                     "Also shards against their index, and NaN and infinity in every tensor.\n"
                                     "Exit status 0: ok, 1: problems, 2: unreadable.\n");
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  by_name(command->add_option("PATH", *path, "a checkpoint of any format that taskvec reads"))->required();
  command->add_flag("--json", *json, "one JSON object on stdout, with every tensor");
  command->callback([=] {
    formats::Verification found;
    try {
      found = formats::verify(*path);
    } catch (const Error& error) {
      // What cannot be read is not the same as what is wrong: always exit status 2.
      throw Error(ErrorCode::InvalidArgument, error.what());
    }
    *json ? print_json(*path, found) : print_text(*path, found);
    if (!found.ok()) throw Differs{};
  });
}

}  // namespace taskvec::cli
