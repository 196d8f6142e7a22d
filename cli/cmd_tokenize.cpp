#include "cli/commands.h"
#include "cli/common.h"
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
};

void print_ids(const text::ClipTokenizer& tokenizer, const std::string& text, int64_t max_length) {
  fmt::print("{}\n", nlohmann::json(tokenizer.encode(text, max_length)).dump());
}

void run_tokenize(const Arguments& arguments) {
  const auto tokenizer = text::ClipTokenizer::open(arguments.model);
  for (const std::string& text : arguments.texts) print_ids(tokenizer, text, arguments.max_length);
  if (!arguments.texts.empty()) return;
  int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_string()) fail(ErrorCode::InvalidArgument, "stdin:{}: expected a JSON string", number);
    print_ids(tokenizer, json.get<std::string>(), arguments.max_length);
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto* command = app.add_subcommand("tokenize",
                                     "Token ids of texts, as a CLIP sees them\n\n"
                                     "  taskvec tokenize -m assets/pocket-clip 'digit seven'\n\n"
                                     "A list of ids per text, as JSON. Without texts: one JSON string a line from stdin.\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("-m,--model", arguments->model, "a folder with tokenizer files")->required();
  command->add_option("text", arguments->texts, "texts; default: from stdin");
  command->add_option("--max-length", arguments->max_length, "cut longer ones, keeping the end token")->capture_default_str();
  command->callback([=] { run_tokenize(*arguments); });
}

}  // namespace taskvec::cli
