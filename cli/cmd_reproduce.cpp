#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/edit/provenance.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace taskvec::cli {

void add_reproduce_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "reproduce", "Replay the edit that made a checkpoint\n\nCompares bytes; exit status 1 when they differ.\n");
  auto path = std::make_shared<std::string>();
  auto sources = std::make_shared<std::vector<std::string>>();
  by_name(command->add_option("OUT", *path, "a checkpoint that taskvec edit wrote"))->required();
  command->add_option("-s,--source", *sources, "where a source is now: name=path");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "the result as JSON");
  command->callback([=] {
    const auto differing = edit::reproduce(*formats::open(*path), open_sources(*sources));
    if (*json) {
      print_result("reproduce", {{"path", *path}, {"reproduced", differing.empty()}, {"differing", differing}});
    } else if (differing.empty()) {
      print("{}: reproduced, byte for byte\n", *path);
    } else {
      for (const auto& name : differing) print("differs: {}\n", name);
    }
    if (!differing.empty()) throw Differs{};
  });
}

}  // namespace taskvec::cli
