#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace taskvec::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  std::vector<const CLI::App*> all = app.get_subcommands([](const CLI::App*) { return true; });
  std::ranges::sort(all, {}, [](const CLI::App* command) { return command->get_name(); });
  return all;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Between single quotes in a shell.
std::string in_quotes(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + out + "'";
}

std::string bash(const CLI::App& app) {
  std::vector<std::string> names;
  std::string cases;
  for (const CLI::App* command : commands_of(app)) {
    names.push_back(command->get_name());
    cases += fmt::format("    {}) flags={} ;;\n", command->get_name(),
                         in_quotes(fmt::format("{}", fmt::join(option_names(*command), " "))));
  }
  return fmt::format(
      "_taskvec() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} flags=\n"
      "  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W {} -- \"$word\")); return; fi\n"
      "  case ${{COMP_WORDS[1]}} in\n{}  esac\n"
      "  case $word in -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;; *) COMPREPLY=() ;; esac\n"
      "}}\n"
      "complete -o default -F _taskvec taskvec\n",
      in_quotes(fmt::format("{} help --version", fmt::join(names, " "))), cases);
}

std::string zsh(const CLI::App& app) {
  const auto escaped = [](std::string text) {  // of what stands between [ and ], and before a :
    std::string out;
    for (const char c : first_line(text))
      out += std::string_view("[]:\\").find(c) != std::string_view::npos ? std::string("\\") + c : std::string(1, c);
    return out;
  };
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += "    " + in_quotes(command->get_name() + ":" + escaped(command->get_description())) + "\n";
    cases += fmt::format("    {}) _arguments", command->get_name());
    for (const CLI::Option* option : command->get_options())
      for (const std::string& flag : names_of(*option))
        cases += " " + in_quotes(fmt::format("*{}[{}]{}", flag, escaped(option->get_description()),
                                             option->get_items_expected_max() > 0 ? ":value:_files" : ""));
    cases += " '*:file:_files' ;;\n";
  }
  return fmt::format(
      "#compdef taskvec\n"
      "_taskvec() {{\n"
      "  local -a commands=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  shift words; (( CURRENT-- ))\n"
      "  case $words[1] in\n{}  esac\n"
      "}}\n"
      "_taskvec \"$@\"\n",
      names, cases);
}

std::string fish(const CLI::App& app) {
  std::string out;
  for (const CLI::App* command : commands_of(app)) {
    out += fmt::format("complete -c taskvec -n __fish_use_subcommand -a {} -d {}\n", command->get_name(),
                       in_quotes(first_line(command->get_description())));
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional()) continue;
      out += fmt::format("complete -c taskvec -n '__fish_seen_subcommand_from {}'", command->get_name());
      for (const std::string& letter : option->get_snames()) out += " -s " + letter;
      for (const std::string& word : option->get_lnames()) out += " -l " + word;
      if (option->get_items_expected_max() > 0) out += " -r";
      out += " -d " + in_quotes(first_line(option->get_description())) + "\n";
    }
  }
  return out;
}

/// roff: a line that begins with a dot or a quote would be a request.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (c == '-')
      out += "\\-";
    else
      out += c == '\\' ? std::string("\\e") : std::string(1, c);
  }
  return out;
}

std::string manual(const CLI::App& app) {
  std::string out = fmt::format(
      ".TH TASKVEC 1 \"\" \"taskvec {}\"\n.SH NAME\ntaskvec \\- edit trained neural networks in weight space\n"
      ".SH SYNOPSIS\n.B taskvec\nCOMMAND [OPTIONS]\n.SH COMMANDS\n",
      version());
  for (const CLI::App* command : commands_of(app)) {
    const std::string text = command->get_description(), rest = text.substr(std::min(text.size(), text.find('\n')));
    out += fmt::format(".SS {}\n{}\n", roff(command->get_name()), roff(first_line(text)));
    if (!rest.empty()) out += fmt::format(".PP\n.nf\n{}\n.fi\n", roff(rest.substr(rest.find_first_not_of('\n'))));
    for (const CLI::Option* option : command->get_options()) {
      const auto flags = names_of(*option);
      const std::string name = flags.empty() ? option->get_name(/*positional=*/true) : fmt::format("{}", fmt::join(flags, ", "));
      out += fmt::format(".TP\n.B {}\n{}\n", roff(name), roff(option->get_description()));
    }
  }
  return out;
}

}  // namespace

void add_completions_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "completions",
      "What a shell needs to complete taskvec's commands and options: bash, zsh or fish; or man, the manual page\n\n"
      "  eval \"$(taskvec completions bash)\"\n");
  auto kind = std::make_shared<std::string>();
  command->add_option("KIND", *kind, "bash, zsh, fish or man")->required()->check(CLI::IsMember({"bash", "zsh", "fish", "man"}));
  command->callback([&app, kind] {
    write_output(*kind == "bash" ? bash(app) : *kind == "zsh" ? zsh(app) : *kind == "fish" ? fish(app) : manual(app));
  });
}

}  // namespace taskvec::cli
