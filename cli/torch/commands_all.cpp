#include "cli/commands.h"
#include "taskvec/bridge/errors.h"

#include <CLI/CLI.hpp>

namespace taskvec::cli {

void add_commands(CLI::App& app) {
  add_core_commands(app);
  add_tasks_command(app);
  add_pretrain_command(app);
  add_finetune_command(app);
  add_eval_command(app);
  add_search_command(app);
  add_disentangle_command(app);
  add_ntk_command(app);
  add_geometry_command(app);
  add_demo_command(app);
  add_completions_command(app);
}

void run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const c10::Error& error) {
    throw bridge::as_error(error);
  }
}

void hand_over(const CLI::App&, char**) {}

}  // namespace taskvec::cli
