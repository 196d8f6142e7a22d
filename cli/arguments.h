#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace taskvec::cli {

/// Every way to write an option, the short ones first; none for a positional argument.
std::vector<std::string> names_of(const CLI::Option& option);
/// The same of all options of a command.
std::vector<std::string> option_names(const CLI::App& command);

/// The command line as the parser wants it: `help CMD` is `CMD --help`, -V is --version.
std::vector<std::string> normalised(int argc, char** argv);

/// An expression may begin with a minus: such a word gets a blank in front, which expressions ignore, so that it is no option.
/// @param command  that the words are for
void protect_expressions(const CLI::App& command, std::vector<std::string>& words);

/// @throws Error{InvalidArgument} where the first word is neither an option nor a command, saying what there is instead
void check_command(const CLI::App& app, const std::vector<std::string>& words);

/// What the parser objects to, in this program's form. @param app  after the parse
std::string message_of(const CLI::ParseError& error, const CLI::App& app);

}  // namespace taskvec::cli
