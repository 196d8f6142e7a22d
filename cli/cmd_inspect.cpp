#include "cli/commands.h"
#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/progress.h"
#include "taskvec/formats/names.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>

namespace taskvec::cli {
namespace {

void print_json(const formats::Checkpoint& checkpoint) {
  const auto& manifest = checkpoint.manifest();
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const auto& tensor : manifest.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"dtype", name(tensor.info.dtype)},
                       {"shape", tensor.info.shape},
                       {"nbytes", tensor.info.nbytes()}});
  const nlohmann::ordered_json json{{"path", checkpoint.path().string()},
                                    {"format", manifest.format},
                                    {"nbytes", manifest.nbytes()},
                                    {"metadata", manifest.metadata},
                                    {"tensors", tensors}};
  print_result("inspect", json);
}

void print_text(const formats::Checkpoint& checkpoint) {
  const auto& manifest = checkpoint.manifest();
  std::map<std::string_view, int64_t> dtypes;
  int64_t parameters = 0;
  for (const auto& tensor : manifest.tensors) {
    print("{:8} {:>10}  {} {}\n", name(tensor.info.dtype), format_bytes(static_cast<double>(tensor.info.nbytes())), tensor.name,
          to_string(tensor.info.shape));
    ++dtypes[name(tensor.info.dtype)];
    parameters += tensor.info.numel();
  }
  print("\n{}: {}, {}, {} elements, {}\n", checkpoint.path().string(), manifest.format,
        format_count(static_cast<int64_t>(manifest.tensors.size()), "tensor"), parameters,
        format_bytes(static_cast<double>(manifest.nbytes())));
  for (const auto& [dtype, count] : dtypes) print("  {} of {}\n", format_count(count, "tensor"), dtype);
  constexpr size_t kShown = 400;  // a recipe with some sources; --json has it all
  for (const auto& [key, value] : manifest.metadata)
    print("  {}: {}\n", key,
          value.size() <= kShown ? value
                                 : fmt::format("{}... ({} bytes; --json shows all)", value.substr(0, kShown), value.size()));
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  auto* command = app.add_subcommand("inspect", "Show what a checkpoint holds, and how it was made");
  auto path = std::make_shared<std::string>();
  auto map = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  by_name(command->add_option("PATH", *path, "a checkpoint: a model folder, or a file of any format that taskvec reads"))
      ->required();
  command->add_option("--map", *map,
                      "show Hugging Face's names: auto, or a name map such as openai-clip (openai-clip:back: from them)");
  command->add_flag("--json", *json, "one JSON object on stdout");
  command->callback([=] {
    auto checkpoint = formats::open(*path);
    if (!map->empty()) {
      checkpoint = *map == "auto" ? formats::guess_names(checkpoint) : formats::map_names(checkpoint, *map);
      if (const auto used = formats::map_of(*checkpoint); *map == "auto")
        note("name map: {}", used.empty() ? "none changes a name" : used);
    }
    *json ? print_json(*checkpoint) : print_text(*checkpoint);
  });
}

}  // namespace taskvec::cli
