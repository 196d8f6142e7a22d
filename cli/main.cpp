#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/help.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/core/printable.h"
#include "taskvec/core/version.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr const char* kDescription =
    "taskvec edits trained neural networks in weight space.\n\n"
    "  taskvec inspect model/\n"
    "  taskvec edit 'base + 0.4*(ft - base)' -s base=clip/ -s ft=clip-mnist/ -o out/\n"
    "  taskvec diff clip/ out/\n";

/// Exit codes: 0 done, 1 failed (or different), 2 bad usage or input, 3 constraints that nothing satisfies, 128 + N stopped by
/// signal N.
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

/// Tells an error to people and, where --json was asked for, to programs.
int report(const std::vector<std::string>& words, const std::string& message, int status) {
  taskvec::write_message("error: " + taskvec::printable_message(message) + "\n");
  if (std::find(words.begin(), words.end(), "--json") == words.end()) return status;
  try {
    taskvec::cli::print_error(words.size() > 1 ? words[1] : "", message, status);
    taskvec::flush_output();
  } catch (const taskvec::Error&) {
    return 1;
  }
  return status;
}

int run(CLI::App& app, const std::vector<std::string>& words, std::vector<char*> argv) {
  try {
    try {
      taskvec::cli::hand_over(app, argv.data());
      taskvec::cli::check_command(app, words);
      taskvec::cli::run(app, static_cast<int>(argv.size()) - 1, argv.data());
    } catch (const CLI::CallForHelp&) {
      const auto commands = app.get_subcommands();
      taskvec::write_output(taskvec::cli::help(commands.empty() ? app : *commands.front()));
    } catch (const CLI::CallForVersion&) {
      taskvec::print("taskvec {}\n", taskvec::version());
    } catch (const CLI::ParseError& error) {
      return report(words, taskvec::cli::message_of(error, app), 2);
    } catch (const taskvec::cli::Differs&) {
      taskvec::flush_output();
      return 1;
    } catch (const taskvec::cli::Infeasible&) {
      taskvec::flush_output();
      return 3;
    }
    taskvec::flush_output();
    return 0;
  } catch (const taskvec::Interrupted& interrupted) {
    const int status = 128 + interrupted.signal();
    return report(words, "stopped" + (interrupted.where().empty() ? "; nothing was written" : interrupted.where()), status);
  } catch (const taskvec::Error& error) {
    return report(words, error.what(), exit_code(error.code()));
  } catch (const std::bad_alloc&) {
    return report(words, "out of memory; use fewer --threads or a smaller --batch, or a machine with more", 1);
  } catch (const std::exception& error) {
    return report(words, error.what(), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  taskvec::open_console();
  taskvec::catch_interrupts();
  std::signal(SIGBUS, on_bus_error);
  CLI::App app(kDescription, "taskvec");
  app.set_version_flag("--version,-V", std::string(taskvec::version()), "print the version");
  app.require_subcommand(1);
  taskvec::cli::add_commands(app);
  taskvec::cli::add_common_options(app);

  std::vector<std::string> words = taskvec::cli::normalised(argc, argv);
  if (words.size() > 2)
    for (const auto* command : app.get_subcommands([&](const CLI::App* command) { return command->get_name() == words[1]; }))
      taskvec::cli::protect_expressions(*command, words);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return run(app, words, pointers);
}
