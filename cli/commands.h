#pragma once

namespace CLI {
class App;
}

namespace taskvec::cli {

/// Registers every sub-command of this program.
void add_commands(CLI::App& app);

/// Becomes the program with all commands where this one lacks what the first argument asks for (a network's command, the help
/// that lists all). Returns where there is nothing to hand over.
/// @throws Error{Io} when that program is there but cannot run
void hand_over(const CLI::App& app, char** argv);

/// Parses the arguments and runs what they ask for.
/// @throws what CLI::App::parse() and the commands throw; a failure inside libtorch as a taskvec::Error
void run(CLI::App& app, int argc, char** argv);

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

/// Of all commands, so that only the program that has all of them has it.
void add_completions_command(CLI::App& app);

// With libtorch: networks that run.
void add_tasks_command(CLI::App& app);
void add_pretrain_command(CLI::App& app);
void add_finetune_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_search_command(CLI::App& app);
void add_disentangle_command(CLI::App& app);
void add_ntk_command(CLI::App& app);
void add_geometry_command(CLI::App& app);
void add_demo_command(CLI::App& app);

}  // namespace taskvec::cli
