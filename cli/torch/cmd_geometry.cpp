#include "cli/common.h"
#include "cli/torch/model_argument.h"
#include "taskvec/analysis/modes.h"
#include "taskvec/bridge/device.h"
#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/eval/task_vectors.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <memory>

namespace taskvec::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string model, split = "test", device = "cpu";
  std::vector<std::string> sources, tasks;
  eval::EvalOptions options;
  bool json = false;
};

using Models = std::vector<std::pair<std::string, bridge::Params>>;

std::string number(double value) { return std::isnan(value) ? "–" : fmt::format("{:.3f}", value); }

void print_vectors(const eval::TaskVectorGeometry& whole) {
  std::vector<std::string> head{"vector", "norm"};
  head.insert(head.end(), whole.names.begin(), whole.names.end());
  report::Table table(head);
  for (size_t i = 0; i < whole.names.size(); ++i) {
    std::vector<std::string> cells{whole.names[i], number(whole.norms[i])};
    for (const double cosine : whole.cosines[i]) cells.push_back(number(cosine));
    table.row(cells);
  }
  table.print();
}

/// Norms by layer and, of two vectors or more, the cosines of the pairs.
void print_layers(const std::vector<std::pair<std::string, eval::TaskVectorGeometry>>& layers) {
  const auto& names = layers.front().second.names;
  std::vector<std::string> head{"norm"};
  head.insert(head.end(), names.begin(), names.end());
  report::Table norms(head);
  for (const auto& [group, part] : layers) {
    std::vector<std::string> cells{group};
    for (const double norm : part.norms) cells.push_back(number(norm));
    norms.row(cells);
  }
  print("\n");
  norms.print();
  if (names.size() < 2) return;
  head = {"cosine"};
  for (size_t i = 0; i < names.size(); ++i)
    for (size_t j = i + 1; j < names.size(); ++j) head.push_back(names[i] + ", " + names[j]);
  report::Table cosines(head);
  for (const auto& [group, part] : layers) {
    std::vector<std::string> cells{group};
    for (size_t i = 0; i < names.size(); ++i)
      for (size_t j = i + 1; j < names.size(); ++j) cells.push_back(number(part.cosines[i][j]));
    cosines.row(cells);
  }
  print("\n");
  cosines.print();
}

ordered_json to_json(const eval::TaskVectorGeometry& geometry) {
  return {{"names", geometry.names}, {"norms", geometry.norms}, {"cosines", geometry.cosines}};
}

/// Standard against post-hoc, of each vector on its own task.
ordered_json compare(const Arguments& arguments, const models::ClipModel& base, const Models& vectors,
                     const std::vector<data::Task>& tasks) {
  eval::EvalOptions options = arguments.options;
  options.progress = false;
  eval::Evaluator network(base.network, base.path, options), linearised(base.network, base.path, options);
  const at::Device device = bridge::parse_device(arguments.device);
  const auto there = [&](const bridge::Params& params) {
    return device.is_cpu() ? params : params.map([&](const std::string&, const at::Tensor& t) { return t.to(device); });
  };
  linearised.linearise(there(base.params));
  ordered_json json;
  report::Table table({"vector", "task", "standard", "linearised", "non-linear advantage", "CKA"});
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto result =
        analysis::compare_modes(network, linearised, there(vectors[i].second), tasks[i], parse_split(arguments.split));
    table.row({vectors[i].first, tasks[i].name, report::percent(result.standard.value()),
               report::percent(result.linearised.value()), number(result.advantage), number(result.cka)});
    json[vectors[i].first] = {{"task", tasks[i].name},
                              {"standard", result.standard.value()},
                              {"linearised", result.linearised.value()},
                              {"advantage", result.advantage},
                              {"cka", result.cka}};
  }
  if (!arguments.json) {
    print("\n");
    table.print();
    print("on {} images of each {} split\n", options.limit == 0 ? "all" : fmt::format("at most {}", options.limit),
          arguments.split);
  }
  return json;
}

void run_geometry(const Arguments& arguments) {
  const auto tasks = load_tasks(arguments.tasks);
  if (!tasks.empty() && tasks.size() != arguments.sources.size())
    fail(ErrorCode::InvalidArgument, "{} tasks for {} vectors; give each vector's task with -t, in the same order", tasks.size(),
         arguments.sources.size());
  bridge::configure_torch();
  const models::ClipModel base = models::open_clip(arguments.model);
  Models vectors;
  std::vector<std::shared_ptr<const formats::Checkpoint>> open;
  for (const std::string& source : arguments.sources) {
    for (const auto& [name, checkpoint] : open_sources({source})) {
      open.push_back(checkpoint);
      vectors.emplace_back(name, bridge::load(*checkpoint));
    }
  }
  const auto whole = eval::task_vector_geometry(base.params, vectors);
  std::vector<std::pair<std::string, eval::TaskVectorGeometry>> layers;
  for (const auto& [group, names] : eval::layer_groups(base.network)) {
    layers.emplace_back(group, eval::task_vector_geometry(base.params, vectors, [&](std::string_view name) {
                          return std::find(names.begin(), names.end(), name) != names.end();
                        }));
  }
  ordered_json json = to_json(whole);
  for (const auto& [group, part] : layers) json["layers"][group] = to_json(part);
  if (!arguments.json) {
    print_vectors(whole);
    print_layers(layers);
  }
  if (!tasks.empty()) {
    json["split"] = arguments.split;
    json["limit"] = arguments.options.limit;
    json["precision"] = bridge::name(arguments.options.precision);
    json["modes"] = compare(arguments, base, vectors, tasks);
  }
  if (arguments.json) print_result("geometry", json);
}

}  // namespace

void add_geometry_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "geometry",
      "Norms and cosines of task vectors, layer by layer\n\n"
      "  taskvec geometry -m assets/pocket-clip -s mnist=runs/mnist -s clothes=runs/clothes -t mnist -t fashion-mnist\n\n"
      "With -t each vector is evaluated on its task as it is and linearised: the non-linear advantage is the share of what\n"
      "lies above chance that is lost, CKA how alike the two networks' features are.\n");
  auto arguments = std::make_shared<Arguments>();
  arguments->options.limit = 2000;
  by_name(command->add_option("-m,--model", arguments->model, "the base: a CLIP folder"))->required();
  command->add_option("-s,--source", arguments->sources, "fine-tuned models: name=path")->required();
  command->add_option("-t,--task", arguments->tasks, "the task of each, in the same order");
  add_split_option(*command, arguments->split);
  add_pass_options(*command, arguments->options);
  add_device_option(*command, arguments->device);
  command->add_flag("--json", arguments->json, "the figures as JSON");
  command->callback([=] { run_geometry(*arguments); });
}

}  // namespace taskvec::cli
