#pragma once

#include "taskvec/demo/demo.h"
#include "taskvec/eval/objective.h"
#include "taskvec/report/plot.h"

#include <memory>

namespace taskvec::demo {

/// What the parts of the demonstration share: the base, the fine-tuned models, and the samples in memory.
class Study {
 public:
  explicit Study(const DemoOptions& options);

  const DemoOptions& options() const { return options_; }
  const std::vector<data::Task>& tasks() const { return tasks_; }
  const data::Task& task(const std::string& name) const;
  const data::Task& control() const { return control_; }
  eval::EditedClip& base() { return *base_; }
  eval::Evaluator& val() { return *val_; }
  eval::Evaluator& test() { return *test_; }

  std::filesystem::path finetuned_path(const std::string& task) const { return options_.output / "models" / task; }
  /// "t0", "t1", ...: what expressions call the fine-tuned model of a task.
  std::string source(const data::Task& task) const;
  /// An edit over `base` and the fine-tuned models of all tasks, which expressions call t0, t1, ... in the order of tasks().
  eval::EditedClip edit(const std::string& expression) const;

  /// Accuracy on the test split.
  double accuracy(eval::EditedClip& model, const std::vector<double>& coefficients, const data::Task& task);

  /// What a coefficient `a` is searched for, on val.
  struct Question {
    std::vector<data::Task> measured;
    std::string goal;
    bool maximize = true;
    double keep = 0;                    ///< share of the control's accuracy that a point must keep; 0: none
    std::string grid = "a=0:1:0.05";    ///< search::parse_axis()
    const search::Metrics* scale = {};  ///< metrics are divided by these
  };
  search::SearchResult search(eval::EditedClip& model, eval::Evaluator& evaluator, const Question& question);
  /// Evaluates the network's linearisation at the base.
  std::unique_ptr<eval::Evaluator> linearised(data::Split split);

  /// Val accuracies of the base.
  const search::Metrics& base_val();

 private:
  eval::EvalOptions passes(data::Split split) const;

  DemoOptions options_;
  std::vector<data::Task> tasks_;
  data::Task control_;
  std::unique_ptr<eval::EditedClip> base_;
  std::unique_ptr<eval::Evaluator> val_, test_;
  search::Metrics base_val_;
};

/// A metric of every trial, in grid order.
std::vector<double> curve(const search::SearchResult& result, const std::string& task);
std::vector<double> axis(const search::SearchResult& result);

/// The coefficient that a search chose.
double chosen(const search::SearchResult& result);

// forget.cpp: figures of forgetting the first task, for results.json
/// base - a * (ft - base) in the image encoder's deeper half.
nlohmann::ordered_json forget(Study& study);
/// The same in the tangent space, with a vector that was trained to leave the control's images alone.
nlohmann::ordered_json forget_linear(Study& study);

// pictures.cpp: PNG files below options.output
void plot_coefficients(const std::filesystem::path& file, const std::string& title, const search::SearchResult& result,
                       const std::vector<std::string>& tasks, double floor, const std::string& control);
void plot_cosines(const std::filesystem::path& file, const std::vector<std::string>& tasks,
                  const std::vector<std::vector<double>>& cosines);
struct NamedModel {
  std::string name;
  eval::EditedClip* model;
  std::vector<double> coefficients;
};
/// Images of the task's test split with every model's answer.
void plot_answers(const std::filesystem::path& file, Study& study, const data::Task& task, const std::vector<NamedModel>& models);

}  // namespace taskvec::demo
