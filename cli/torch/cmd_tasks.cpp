#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/progress.h"
#include "taskvec/data/dataset.h"
#include "taskvec/data/fonts.h"
#include "taskvec/data/task.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <map>
#include <memory>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::vector<std::string> tasks;
  std::string scan_fonts;
  bool json = false;
};

constexpr int64_t kFewSamples = 10;

/// Everything that use of a task checks: its splits, its labels, every image. @return images a split
std::map<std::string, int64_t> check_samples(const data::Task& task) {
  std::map<std::string, int64_t> sizes;
  std::vector<std::shared_ptr<const data::Dataset>> splits;
  int64_t total = 0;
  for (const data::Split split : {data::Split::Train, data::Split::Val, data::Split::Test}) {
    // A tenth of a few samples is none: such a task can be evaluated, and not searched on.
    if (split == data::Split::Val && sizes.at("train") < kFewSamples) continue;
    splits.push_back(data::open_dataset(task, split));
    sizes[std::string(data::name(split))] = splits.back()->size();
    total += splits.back()->size();
  }
  Progress progress("checking " + task.name, total, "images");
  for (const auto& split : splits)
    parallel_for(split->size(), [&](int64_t i) {
      split->image(i);
      progress.add(1);
    });
  return sizes;
}

void run_tasks(const Arguments& arguments) {
  if (!arguments.scan_fonts.empty()) {
    print("{}", data::scan_fonts(arguments.scan_fonts));
    return;
  }
  report::Table table({"task", "classes", "here", "what"},
                      {report::Align::Left, report::Align::Right, report::Align::Left, report::Align::Left});
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  std::vector<std::string> missing, checked;
  for (const std::string& name : arguments.tasks.empty() ? data::builtin_tasks() : arguments.tasks) {
    const data::Task task = data::load_task(name);
    const std::string lack = data::missing(task);
    table.row({task.name, std::to_string(task.classes.size()), lack.empty() ? "yes" : "no", task.description});
    if (!lack.empty()) missing.push_back(task.name + ": " + lack);
    std::map<std::string, int64_t> images;
    if (lack.empty() && !arguments.tasks.empty()) {
      images = check_samples(task);
      checked.push_back(fmt::format("{}: every image can be read: {} train, {} val, {} test", task.name, images["train"],
                                    images["val"], images["test"]));
    }
    all[task.name] = {
        {"description", task.description}, {"file", task.file.string()}, {"source", task.source},     {"classes", task.classes},
        {"templates", task.templates},     {"metric", task.metric},      {"available", lack.empty()}, {"missing", lack}};
    if (!images.empty()) all[task.name]["images"] = images;
  }
  if (arguments.json) {
    print_result("tasks", all);
  } else {
    table.print();
    for (const std::string& line : missing) print("{}\n", line);
    for (const std::string& line : checked) print("{}\n", line);
  }
  if (!arguments.tasks.empty() && !missing.empty()) throw Differs{};
}

}  // namespace

void add_tasks_command(CLI::App& app) {
  auto* command = app.add_subcommand("tasks",
                                     "List the tasks, and what is missing on this machine\n\n"
                                     "  taskvec tasks\n"
                                     "  taskvec tasks my-task.yaml     checks a task file of your own, with all its images\n\n"
                                     "Exit code 1: the data of a task that was named are not here.\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("task", arguments->tasks, "built-in names or .yaml files; default: everything built in");
  command
      ->add_option("--scan-fonts", arguments->scan_fonts, "print the faces below a folder in the form of assets/fonts/fonts.txt")
      ->group("Development");
  command->add_flag("--json", arguments->json, "as JSON, with class names");
  command->callback([=] { run_tasks(*arguments); });
}

}  // namespace taskvec::cli
