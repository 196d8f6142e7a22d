#include "taskvec/demo/study.h"

#include "taskvec/bridge/device.h"
#include "taskvec/core/error.h"

#include <algorithm>

namespace taskvec::demo {
namespace {

std::vector<data::Task> load(const std::vector<std::string>& names) {
  std::vector<data::Task> tasks;
  for (const std::string& name : names) tasks.push_back(data::load_task(name));
  return tasks;
}

}  // namespace

Study::Study(const DemoOptions& options)
    : options_(options), tasks_(load(options.tasks)), control_(data::load_task(options.control)) {
  if (tasks_.size() < 2) fail(ErrorCode::InvalidArgument, "the demonstration adds task vectors: give two tasks or more");
  bridge::configure_torch();
  for (const data::Task* task : {&control_, &tasks_.front()}) {
    if (const std::string lack = data::missing(*task); !lack.empty())
      fail(ErrorCode::NotFound, "task '{}': {}", task->name, lack);
  }
  base_ = std::make_unique<eval::EditedClip>(edit::parse("base"), edit::Bindings{{"base", formats::open(options.model)}});
  eval::EvalOptions quiet{.progress = false};
  quiet.limit = options.val_limit;
  quiet.split = data::Split::Val;
  val_ = std::make_unique<eval::Evaluator>(base_->network(), base_->folder(), quiet);
  quiet.limit = options.test_limit;
  quiet.split = data::Split::Test;
  test_ = std::make_unique<eval::Evaluator>(base_->network(), base_->folder(), quiet);
}

const data::Task& Study::task(const std::string& name) const {
  const auto found = std::find_if(tasks_.begin(), tasks_.end(), [&](const data::Task& task) { return task.name == name; });
  return found == tasks_.end() ? control_ : *found;
}

eval::EditedClip Study::edit(const std::string& expression) const {
  edit::Bindings sources{{"base", formats::open(options_.model)}};
  for (size_t i = 0; i < tasks_.size(); ++i) sources["t" + std::to_string(i)] = formats::open(finetuned_path(tasks_[i].name));
  return {edit::parse(expression), sources};
}

double Study::accuracy(eval::EditedClip& model, const std::vector<double>& coefficients, const data::Task& task) {
  return test_->evaluate(model.apply(coefficients), task).accuracy.value();
}

const search::Metrics& Study::base_val() {
  if (base_val_.empty()) {
    auto all = tasks_;
    all.push_back(control_);
    base_val_ = eval::metrics(eval::evaluate_all(*val_, base_->apply(), all, data::Split::Val));
  }
  return base_val_;
}

search::SearchResult Study::search(eval::EditedClip& model, const std::vector<data::Task>& measured, const std::string& goal,
                                   bool maximize, double keep, const search::Metrics& scale) {
  search::SearchOptions search;
  search.axes = {search::parse_axis("a=0:1:0.05")};
  search.goal = search::parse_goal(goal, maximize);
  search.reference = base_val();
  if (keep > 0) search.constraints = {search::parse_constraint(fmt::format("{} >= {}*base", control_.name, keep))};
  const search::Objective raw = eval::make_objective(model, *val_, measured, data::Split::Val, search.axes);
  return search::grid_search(search, [&](std::span<const double> point) {
    search::Metrics metrics = raw(point);
    for (auto& [task, value] : metrics) {
      if (const auto found = scale.find(task); found != scale.end()) value /= std::max(found->second, 1e-9);
    }
    return metrics;
  });
}

std::vector<double> curve(const search::SearchResult& result, const std::string& task) {
  std::vector<double> values;
  for (const search::Trial& trial : result.trials) values.push_back(trial.metrics.at(task));
  return values;
}

std::vector<double> axis(const search::SearchResult& result) {
  std::vector<double> values;
  for (const search::Trial& trial : result.trials) values.push_back(trial.coefficients.front());
  return values;
}

}  // namespace taskvec::demo
