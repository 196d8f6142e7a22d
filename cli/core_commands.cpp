#include "cli/commands.h"

namespace taskvec::cli {

void add_core_commands(CLI::App& app) {
  add_inspect_command(app);
  add_edit_command(app);
  add_diff_command(app);
  add_extract_command(app);
  add_apply_command(app);
  add_reproduce_command(app);
  add_convert_command(app);
  add_verify_command(app);
  add_tokenize_command(app);
}

}  // namespace taskvec::cli
