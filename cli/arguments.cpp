#include "cli/arguments.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <cctype>

namespace taskvec::cli {
namespace {

bool is_option(const std::string& word, const std::vector<std::string>& names) {
  if (word.starts_with("--")) return true;
  // -o out, -oout
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return word.starts_with(name); });
}

const CLI::App& used(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

std::string hint(const CLI::App& app) {
  const CLI::App& command = used(app);
  return fmt::format("; `taskvec {}--help` shows what there is", &command == &app ? "" : command.get_name() + " ");
}

/// Without the parser's own references to other help.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& letter : option.get_snames()) names.push_back("-" + letter);
  for (const std::string& word : option.get_lnames()) names.push_back("--" + word);
  return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> all;
  for (const CLI::Option* option : command.get_options())
    for (std::string& name : names_of(*option)) all.push_back(std::move(name));
  return all;
}

std::vector<std::string> normalised(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  if (words.empty()) words.emplace_back("taskvec");
  if (words.size() > 1 && words[1] == "help") {
    words.erase(words.begin() + 1);
    words.resize(std::min<size_t>(words.size(), 2));
    words.emplace_back("--help");
  }
  if (words.size() > 1 && words[1] == "-V") words[1] = "--version";
  if (words.size() == 1) words.emplace_back("--help");
  return words;
}

void protect_expressions(const CLI::App& command, std::vector<std::string>& words) {
  const auto names = option_names(command);
  for (size_t i = 2; i < words.size(); ++i) {
    std::string& word = words[i];
    if (word == "--") return;
    const bool place = i == 2 || words[i - 1] == "-m" || words[i - 1] == "--model";
    if (place && word.size() > 1 && word[0] == '-' && !is_option(word, names)) word.insert(0, " ");
  }
}

void check_command(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.size() < 2 || words[1].starts_with("-")) return;
  const std::string& first = words[1];
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), first) != names.end()) return;
  if (first == "merge" || first.ends_with(".yml") || first.ends_with(".yaml"))
    fail(ErrorCode::InvalidArgument,
         "{}; a merge is an edit: taskvec edit 'base + 0.3*(a - base) + 0.3*(b - base)' -s base=PATH -s a=PATH -s b=PATH -o OUT",
         first == "merge" ? "there is no command 'merge'" : fmt::format("{}: recipes are not read yet", first));
  fail(ErrorCode::InvalidArgument, "no such command: '{}'{}; `taskvec --help` lists them", first, did_you_mean(first, names));
}

std::string message_of(const CLI::ParseError& error, const CLI::App& app) {
  const CLI::App& command = used(app);
  const auto extras = app.remaining(/*recurse=*/true);
  auto unknown = std::find_if(extras.begin(), extras.end(), [](const std::string& word) { return word.starts_with("-"); });
  if (unknown == extras.end() && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) unknown = extras.begin();
  // A misspelt option is often why a required one is missing.
  if (unknown != extras.end()) {
    const std::string name = unknown->substr(0, unknown->find('='));
    if (!name.starts_with("-"))
      return fmt::format("'{}' is one argument too many for `taskvec {}`{}", *unknown, command.get_name(), hint(app));
    return fmt::format("`taskvec {}` has no option {}{}{}", command.get_name(), name, did_you_mean(name, option_names(command)),
                       hint(app));
  }
  return first_line(error.what()) + hint(app);
}

}  // namespace taskvec::cli
