#include "cli/common.h"
#include "taskvec/core/console.h"
#include "taskvec/data/fonts.h"
#include "taskvec/data/task.h"
#include "taskvec/report/table.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

namespace taskvec::cli {
namespace {

struct Arguments {
  std::vector<std::string> tasks;
  std::string scan_fonts;
  bool json = false;
};

void run_tasks(const Arguments& arguments) {
  if (!arguments.scan_fonts.empty()) {
    print("{}", data::scan_fonts(arguments.scan_fonts));
    return;
  }
  report::Table table({"task", "classes", "here", "what"},
                      {report::Align::Left, report::Align::Right, report::Align::Left, report::Align::Left});
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  std::vector<std::string> missing;
  for (const std::string& name : arguments.tasks.empty() ? data::builtin_tasks() : arguments.tasks) {
    const data::Task task = data::load_task(name);
    const std::string lack = data::missing(task);
    table.row({task.name, std::to_string(task.classes.size()), lack.empty() ? "yes" : "no", task.description});
    if (!lack.empty()) missing.push_back(task.name + ": " + lack);
    all[task.name] = {
        {"description", task.description}, {"file", task.file.string()}, {"source", task.source},     {"classes", task.classes},
        {"templates", task.templates},     {"metric", task.metric},      {"available", lack.empty()}, {"missing", lack}};
  }
  if (arguments.json) {
    print_result("tasks", all);
    return;
  }
  table.print();
  for (const std::string& line : missing) print("{}\n", line);
}

}  // namespace

void add_tasks_command(CLI::App& app) {
  auto* command = app.add_subcommand("tasks",
                                     "List the tasks, and what is missing on this machine\n\n"
                                     "  taskvec tasks\n"
                                     "  taskvec tasks my-task.yaml     checks a task file of your own\n");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("task", arguments->tasks, "built-in names or .yaml files; default: everything built in");
  command
      ->add_option("--scan-fonts", arguments->scan_fonts, "print the faces below a folder in the form of assets/fonts/fonts.txt")
      ->group("Development");
  command->add_flag("--json", arguments->json, "as JSON, with class names");
  command->callback([=] { run_tasks(*arguments); });
}

}  // namespace taskvec::cli
