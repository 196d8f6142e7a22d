#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/analysis/disentanglement.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/eval/objective.h"
#include "taskvec/report/result_folder.h"
#include "taskvec/report/table.h"
#include "taskvec/search/grid.h"

#include <nlohmann/json.hpp>

#include <array>
#include <memory>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string model, output, grid = "-2:2:0.2", split = "test", distance = "zero-one", origin, device = "cpu";
  std::vector<std::string> sources, tasks, modes;
  eval::EvalOptions options;
  uint64_t cache = kSweepCache;
  bool json = false, force = false;
};

/// base + $a*(first - base) + $b*(second - base)
eval::EditedClip open_pair(const Arguments& arguments) {
  if (arguments.sources.size() != 2) {
    fail(ErrorCode::InvalidArgument, "a map is of two task vectors: give two fine-tuned models, -s a=PATH -s b=PATH, got {}",
         arguments.sources.size());
  }
  std::array<std::string, 2> names;
  for (size_t i = 0; i < 2; ++i) names[i] = arguments.sources[i].substr(0, arguments.sources[i].find('='));
  std::vector<std::string> sources{"base=" + arguments.model};
  sources.insert(sources.end(), arguments.sources.begin(), arguments.sources.end());
  return open_model(fmt::format("base + $a*({} - base) + $b*({} - base)", names[0], names[1]), sources, {}, arguments.device);
}

std::string with_interval(const analysis::Mean& mean) { return fmt::format("{:.3f} ± {:.3f}", mean.value, mean.half_width); }

ordered_json to_json(const analysis::Disentanglement& map) {
  ordered_json json;
  json["mean"] = {{"value", map.everywhere.value}, {"ci95", map.everywhere.half_width}};
  json["box"] = {{"value", map.box.value}, {"ci95", map.box.half_width}};
  for (int64_t i = 0; i < map.error.size(0); ++i) {
    const at::Tensor row = map.error[i].contiguous();
    json["error"].push_back(std::vector<double>(row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel()));
  }
  return json;
}

void run_disentangle(Arguments& arguments) {
  const auto tasks = load_tasks(arguments.tasks);
  if (tasks.size() != 2) fail(ErrorCode::InvalidArgument, "a map is of two tasks: -t FIRST -t SECOND, got {}", tasks.size());
  if (arguments.grid.find('=') != std::string::npos)
    fail(ErrorCode::InvalidArgument, "--grid {}: both vectors have the same values, without a name: --grid {}", arguments.grid,
         arguments.grid.substr(arguments.grid.find('=') + 1));
  const std::vector<double> grid = search::parse_axis("a=" + arguments.grid).values;
  if (grid.size() > 40) fail(ErrorCode::InvalidArgument, "--grid {}: {} values a side; at most 40", arguments.grid, grid.size());
  const data::Split split = parse_split(arguments.split);
  const auto distance = arguments.distance == "kl" ? analysis::Distance::Kl : analysis::Distance::ZeroOne;
  arguments.options.progress = false;
  eval::EditedClip model = open_pair(arguments);
  if (arguments.modes.empty()) {
    const bool linear = eval::linear_origin(model, eval::Mode::Auto, arguments.origin).has_value();
    arguments.modes = linear ? std::vector<std::string>{"linear"} : std::vector<std::string>{"standard", "posthoc"};
  }
  report::ResultFolder folder{arguments.output, "disentangle", "disentanglement.json", {}};
  for (const std::string& mode : arguments.modes) folder.files.insert(folder.files.end(), {mode + ".png", mode + ".svg"});
  if (!arguments.output.empty()) folder.claim(arguments.force);

  ordered_json all{{"tasks", {tasks[0].name, tasks[1].name}}, {"split", arguments.split},
                   {"limit", arguments.options.limit},        {"precision", bridge::name(arguments.options.precision)},
                   {"distance", arguments.distance},          {"grid", grid}};
  report::Table table({"mode", "mean over the grid", "mean in [0, 1]²"});
  for (const std::string& mode : arguments.modes) {
    eval::Evaluator evaluator(model.network(), model.folder(), arguments.options);
    keep_sweeps(evaluator, arguments.cache);
    const Meaning meaning = choose_mode(evaluator, model, mode, arguments.origin);
    Progress progress(mode, static_cast<int64_t>(grid.size() * grid.size()), "points");
    const auto map = analysis::disentanglement_error(eval::make_logits(model, evaluator, tasks, split), grid, distance,
                                                     [&] { progress.add(1); });
    all["modes"][mode] = to_json(map);
    if (!meaning.origin.empty()) all["modes"][mode]["origin"] = meaning.origin;
    table.row({mode, with_interval(map.everywhere), with_interval(map.box)});
    if (!arguments.output.empty()) {
      report::write_picture(folder.path / mode, analysis::error_plot(map, grid, tasks[0].name, tasks[1].name, mode));
    }
  }
  if (!arguments.output.empty()) folder.write(all);
  if (arguments.json) {
    print_result("disentangle", all);
  } else {
    table.print();
    print("on {} images of each {} split\n",
          arguments.options.limit == 0 ? "all" : fmt::format("at most {}", arguments.options.limit), arguments.split);
  }
}

}  // namespace

void add_disentangle_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "disentangle",
      "How much two task vectors disturb each other\n\n"
      "  taskvec disentangle -m assets/pocket-clip -s a=runs/mnist -s b=runs/clothes -t mnist -t fashion-mnist -o xi\n\n"
      "At (a, b) the error counts the answers on the first task that adding b times the second vector changes, and the other "
      "way\n"
      "round: 0 says that the vectors act on their own tasks alone. In the tangent space a map costs one pass over the data; in\n"
      "standard mode every point costs one.\n");
  auto arguments = std::make_shared<Arguments>();
  by_name(command->add_option("-m,--model", arguments->model, "the base: a CLIP folder"))->required();
  command->add_option("-s,--source", arguments->sources, "the two fine-tuned models: name=path")->required();
  command->add_option("-t,--task", arguments->tasks, "their tasks, in the same order")->required();
  command->add_option("--grid", arguments->grid, "coefficients of both vectors")->capture_default_str();
  command
      ->add_option("--mode", arguments->modes,
                   "standard, posthoc or linear; repeatable (default: standard and posthoc, or linear where "
                   "the models were trained so)")
      ->check(CLI::IsMember({"standard", "posthoc", "linear"}));
  command->add_option("--distance", arguments->distance, "zero-one: answers that differ; kl: of the probabilities, in nats")
      ->check(CLI::IsMember({"zero-one", "kl"}))
      ->capture_default_str();
  command->add_option("--origin", arguments->origin, "the model that is linearised (default: the base)");
  add_split_option(*command, arguments->split);
  arguments->options.limit = 2048;
  add_pass_options(*command, arguments->options);
  command->add_option("-o,--output", arguments->output, "a folder for disentanglement.json and a picture per mode");
  add_cache_option(*command, arguments->cache);
  add_device_option(*command, arguments->device);
  command->add_flag("--force", arguments->force, "replace earlier results in OUTPUT");
  command->add_flag("--json", arguments->json, "the maps as JSON");
  command->callback([=] { run_disentangle(*arguments); });
}

}  // namespace taskvec::cli
