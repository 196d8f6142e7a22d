#include "cli/commands.h"
#include "taskvec/core/error.h"

#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace taskvec::cli {

void add_commands(CLI::App& app) { add_core_commands(app); }

void run(CLI::App& app, int argc, char** argv) { app.parse(argc, argv); }

void hand_over(const CLI::App& app, char** argv) {
  const std::string first = argv[1] == nullptr ? "" : argv[1];
  if (first == "--version" || !app.get_subcommands([&](const CLI::App* command) { return command->get_name() == first; }).empty())
    return;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "taskvec-torch";
  if (!std::filesystem::exists(program, error)) return;  // a core-only build
  // Threads of OpenMP that wait for each other sleep: beside other work, spinning makes training several times slower. It has to
  // be in the environment before libgomp is loaded.
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", /*overwrite=*/0);
  ::execv(program.c_str(), argv);
  fail(ErrorCode::Io, "cannot run {}: {}", program.string(), std::strerror(errno));
}

}  // namespace taskvec::cli
