#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/error.h"
#include "taskvec/core/version.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string_view>

namespace {

constexpr const char* kDescription =
    "taskvec edits trained neural networks in weight space.\n\n"
    "  taskvec inspect model/\n"
    "  taskvec edit 'base + 0.4*(ft - base)' -s base=clip/ -s ft=clip-mnist/ -o out/\n"
    "  taskvec diff clip/ out/\n";

/// Exit codes: 0 done, 1 failed (or different), 2 bad usage or input, 3 constraints that nothing satisfies.
int exit_code(taskvec::ErrorCode code) {
  using taskvec::ErrorCode;
  return code == ErrorCode::Io || code == ErrorCode::Numeric ? 1 : 2;
}

/// Inputs are mapped: what is beyond the end of one that shrinks can be neither read nor returned from. What was being written is
/// cleared up by the next run, as after a kill.
void on_bus_error(int) {
  constexpr std::string_view kMessage =
      "error: an input was cut off while it was being read (or its disk failed); run again when nothing writes to it\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  ::_exit(1);
}

/// @throws Error{InvalidArgument} where the first argument is neither an option nor a command
void check_command(const CLI::App& app, const char* first) {
  if (first == nullptr || *first == '-') return;
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), first) == names.end())
    taskvec::fail(taskvec::ErrorCode::InvalidArgument, "no such command: '{}'{}; `taskvec --help` lists them", first,
                  taskvec::did_you_mean(first, names));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGBUS, on_bus_error);
  CLI::App app(kDescription, "taskvec");
  app.set_version_flag("--version", std::string(taskvec::version()));
  app.require_subcommand(1);
  taskvec::cli::add_commands(app);
  try {
    taskvec::cli::hand_over(app, argv);
    check_command(app, argv[1]);
    taskvec::cli::run(app, argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const taskvec::cli::Differs&) {
    return 1;
  } catch (const taskvec::cli::Infeasible&) {
    return 3;
  } catch (const taskvec::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return exit_code(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  return 0;
}
