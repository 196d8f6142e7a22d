#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/error.h"
#include "taskvec/core/version.h"

#include <fmt/format.h>
#include <cstdio>

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

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(kDescription, "taskvec");
  app.set_version_flag("--version", std::string(taskvec::version()));
  app.require_subcommand(1);
  taskvec::cli::add_commands(app);
  try {
    app.parse(argc, argv);
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
