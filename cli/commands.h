#pragma once

namespace CLI {
class App;
}

namespace taskvec::cli {

/// Registers every sub-command of this build.
void add_commands(CLI::App& app);

/// The sub-commands that need no libtorch.
void add_core_commands(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_edit_command(CLI::App& app);
void add_diff_command(CLI::App& app);
void add_extract_command(CLI::App& app);
void add_apply_command(CLI::App& app);
void add_reproduce_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_tokenize_command(CLI::App& app);

// With libtorch: networks that run.
void add_tasks_command(CLI::App& app);
void add_pretrain_command(CLI::App& app);
void add_finetune_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_search_command(CLI::App& app);
void add_disentangle_command(CLI::App& app);
void add_demo_command(CLI::App& app);

}  // namespace taskvec::cli
