#include "cli/commands.h"

namespace taskvec::cli {

void add_commands(CLI::App& app) { add_core_commands(app); }

}  // namespace taskvec::cli
