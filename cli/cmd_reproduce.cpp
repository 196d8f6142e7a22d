#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/edit/provenance.h"

#include <fmt/format.h>
#include <cstdio>

namespace taskvec::cli {

void add_reproduce_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("reproduce", "Replay the edit that made a checkpoint and compare bytes; exit status 1 when they differ");
  auto path = std::make_shared<std::string>();
  auto sources = std::make_shared<std::vector<std::string>>();
  command->add_option("OUT", *path, "a checkpoint that taskvec edit wrote")->required();
  command->add_option("-s,--source", *sources, "where a source is now: name=path");
  add_threads_option(*command);
  command->callback([=] {
    const auto differing = edit::reproduce(*formats::open(*path), open_sources(*sources));
    if (differing.empty()) {
      fmt::print("{}: reproduced, byte for byte\n", *path);
      return;
    }
    for (const auto& name : differing) fmt::print("differs: {}\n", name);
    throw Differs{};
  });
}

}  // namespace taskvec::cli
