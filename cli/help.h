#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace taskvec::cli {

/// The help of the program or of a command, at most 96 columns wide.
std::string help(const CLI::App& app);

}  // namespace taskvec::cli
