#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/bounded_json.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/text/clip_tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::string model;
  std::vector<std::string> texts;
  int64_t max_length = 77;
  bool json = false;
};

/// One JSON string a line.
std::vector<std::string> texts_from_stdin() {
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) {
    const auto json = parse_bounded_json(line);
    if (!json.is_string()) fail(ErrorCode::InvalidArgument, "stdin:{}: expected a JSON string", texts.size() + 1);
    texts.push_back(json.get<std::string>());
  }
  return texts;
}

void run_tokenize(const Arguments& arguments) {
  const auto tokenizer = text::ClipTokenizer::open(arguments.model);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const std::string& text : arguments.texts.empty() ? texts_from_stdin() : arguments.texts) {
    const nlohmann::ordered_json ids = tokenizer.encode(text, arguments.max_length);
    if (!arguments.json) write_output(ids.dump() + "\n");
    all.push_back(ids);
  }
  if (arguments.json) print_result("tokenize", all, {{"model", arguments.model}});
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto* command = app.add_subcommand("tokenize",
                                     "Token ids of texts, as a CLIP sees them\n\n"
                                     "  taskvec tokenize -m assets/pocket-clip 'digit seven'\n\n"
                                     "A list of ids per text, as JSON. Without texts: one JSON string a line from stdin.\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("-m,--model", arguments->model, "a folder with tokenizer files"))->required();
  command->add_option("text", arguments->texts, "texts; default: from stdin");
  command->add_option("--max-length", arguments->max_length, "cut longer ones, keeping the end token")->capture_default_str();
  command->add_flag("--json", arguments->json, "all lists in one JSON object");
  command->callback([=] { run_tokenize(*arguments); });
}

}  // namespace taskvec::cli
