#include "taskvec/demo/study.h"

#include "taskvec/bridge/device.h"
#include "taskvec/core/error.h"
#include "taskvec/eval/mode.h"

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
  if (tasks_.empty()) fail(ErrorCode::InvalidArgument, "the demonstration needs a task to learn");
  bridge::configure_torch();
  for (const data::Task* task : {&control_, &tasks_.front()}) {
    if (const std::string lack = data::missing(*task); !lack.empty())
      fail(ErrorCode::NotFound, "task '{}': {}", task->name, lack);
  }
  base_ = std::make_unique<eval::EditedClip>(edit::parse("base"), edit::Bindings{{"base", formats::open(options.model)}},
                                             edit::PlanOptions{}, bridge::parse_device(options.device));
  val_ = std::make_unique<eval::Evaluator>(base_->network(), base_->folder(), passes(data::Split::Val));
  test_ = std::make_unique<eval::Evaluator>(base_->network(), base_->folder(), passes(data::Split::Test));
}

eval::EvalOptions Study::passes(data::Split split) const {
  eval::EvalOptions quiet{.progress = false};
  quiet.split = split;
  quiet.precision = options_.precision;
  quiet.limit = split == data::Split::Val ? options_.val_limit : options_.test_limit;
  return quiet;
}

std::unique_ptr<eval::Evaluator> Study::linearised(data::Split split) {
  auto evaluator = std::make_unique<eval::Evaluator>(base_->network(), base_->folder(), passes(split));
  evaluator->linearise(eval::linear_origin(*base_, eval::Mode::Linear)->params);
  return evaluator;
}

const data::Task& Study::task(const std::string& name) const {
  const auto found = std::find_if(tasks_.begin(), tasks_.end(), [&](const data::Task& task) { return task.name == name; });
  return found == tasks_.end() ? control_ : *found;
}

std::string Study::source(const data::Task& task) const {
  for (size_t i = 0; i < tasks_.size(); ++i) {
    if (tasks_[i].name == task.name) return "t" + std::to_string(i);
  }
  fail(ErrorCode::InvalidArgument, "no task '{}'", task.name);
}

eval::EditedClip Study::edit(const std::string& expression) const {
  edit::Bindings sources{{"base", formats::open(options_.model)}};
  for (size_t i = 0; i < tasks_.size(); ++i) sources["t" + std::to_string(i)] = formats::open(finetuned_path(tasks_[i].name));
  return {edit::parse(expression), sources, {}, bridge::parse_device(options_.device)};
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

search::SearchResult Study::search(eval::EditedClip& model, eval::Evaluator& evaluator, const Question& question) {
  search::SearchOptions search;
  search.axes = {search::parse_axis(question.grid)};
  search.goal = search::parse_goal(question.goal, question.maximize);
  search.reference = base_val();
  if (question.keep > 0)
    search.constraints = {search::parse_constraint(fmt::format("{} >= {}*base", control_.name, question.keep))};
  const search::Objective raw = eval::make_objective(model, evaluator, question.measured, data::Split::Val, search.axes);
  return search::grid_search(search, [&](std::span<const double> point) {
    search::Metrics metrics = raw(point);
    for (auto& [task, value] : metrics) {
      if (!question.scale) break;
      if (const auto found = question.scale->find(task); found != question.scale->end()) value /= std::max(found->second, 1e-9);
    }
    return metrics;
  });
}

double chosen(const search::SearchResult& result) { return result.trials[result.nearest].coefficients.front(); }

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
