#include "cli/help.h"

#include "cli/arguments.h"
#include "cli/common.h"
#include "taskvec/core/console.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace taskvec::cli {
namespace {

constexpr size_t kTextColumn = 28;

/// Columns of a line: at most 96, which are read well; a terminal may have fewer.
size_t width() {
  constexpr int kMost = 96, kLeast = 60;
  return static_cast<size_t>(std::clamp(output_width(), kLeast, kMost));
}

struct Group {
  std::string_view name;
  std::vector<std::string_view> commands;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all{
      {"Edit", {"edit", "inspect", "diff", "verify", "convert", "reproduce"}},
      {"Share", {"extract", "apply"}},
      {"Train and evaluate", {"finetune", "eval", "tasks", "pretrain", "tokenize"}},
      {"Search", {"search"}},
      {"Understand", {"demo", "disentangle", "ntk", "geometry"}},
  };
  return all;
}

/// `text` in lines that end before width(), all but the first indented.
std::string wrapped(std::string_view text, size_t column, size_t indent) {
  std::string out;
  size_t at = column;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    if (at > indent && at + 1 + word.size() > width()) {
      out += "\n" + std::string(indent, ' ');
      at = indent;
    } else if (at > indent) {
      out += ' ';
      ++at;
    }
    out += word;
    at += word.size();
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return out;
}

/// Two columns.
std::string item(const std::string& name, std::string_view text) {
  std::string out = "  " + name;
  if (out.size() + 2 > kTextColumn) {
    out += "\n" + std::string(kTextColumn, ' ');
  } else {
    out.resize(kTextColumn, ' ');
  }
  return out + wrapped(text, kTextColumn, kTextColumn) + "\n";
}

std::string_view first_line(const std::string& text) { return std::string_view(text).substr(0, text.find('\n')); }

/// Paragraphs of a description, their lines joined and wrapped anew; indented lines (examples) stay as they are.
std::string paragraphs(const std::string& text) {
  std::string out, paragraph;
  const auto finish = [&] {
    if (!paragraph.empty()) out += wrapped(paragraph, 0, 0) + "\n";
    paragraph.clear();
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty() || line.starts_with(" ")) {
      finish();
      out += line + "\n";
    } else {
      paragraph += (paragraph.empty() ? "" : " ") + line;
    }
  }
  finish();
  return out;
}

std::string name_of(const CLI::Option& option) {
  std::string name = fmt::format("{}", fmt::join(names_of(option), ", "));
  if (name.empty()) return option.get_name(/*positional=*/true) + (option.get_items_expected_max() > 1 ? " ..." : "");
  if (option.get_items_expected_max() > 0) name += " " + option.get_type_name();
  return name;
}

enum class Kind { Positional, Own, Common };

Kind kind_of(const CLI::Option& option) {
  if (option.get_positional()) return Kind::Positional;
  return option.get_group() == kCommonOptions ? Kind::Common : Kind::Own;
}

std::string options(const CLI::App& command, Kind kind) {
  std::string out;
  for (const CLI::Option* option : command.get_options()) {
    if (kind_of(*option) != kind || option->get_group().empty()) continue;
    std::string text = option->get_description();
    if (!option->get_default_str().empty() && option->get_items_expected_max() > 0)
      text += " [" + option->get_default_str() + "]";
    if (option->get_required()) text += " (required)";
    out += item(name_of(*option), text);
  }
  return out;
}

}  // namespace

std::string help(const CLI::App& app) {
  std::string out = paragraphs(app.get_description());
  const bool top = app.get_parent() == nullptr;
  if (!top) {
    std::string usage = "taskvec " + app.get_name() + " [OPTIONS]";
    for (const CLI::Option* option : app.get_options())
      if (option->get_positional())
        usage += (option->get_required() ? " " : " [") + name_of(*option) + (option->get_required() ? "" : "]");
    out += "\nUsage: " + usage + "\n";
    for (const auto& [kind, heading] :
         {std::pair(Kind::Positional, "Arguments"), std::pair(Kind::Own, "Options"), std::pair(Kind::Common, kCommonOptions)})
      if (const std::string listed = options(app, kind); !listed.empty()) out += fmt::format("\n{}:\n{}", heading, listed);
    return out;
  }
  for (const auto& [group, names] : groups()) {
    std::string commands;
    for (const std::string_view name : names) {
      for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
        if (command->get_name() == name) commands += item(std::string(name), first_line(command->get_description()));
    }
    if (!commands.empty()) out += fmt::format("\n{}:\n{}", group, commands);
  }
  return out + "\n`taskvec COMMAND --help` explains a command; `taskvec --version` names the build.\n";
}

}  // namespace taskvec::cli
