#pragma once

#include "taskvec/eval/edited_clip.h"
#include "taskvec/eval/evaluate.h"
#include "taskvec/search/search.h"

namespace taskvec::eval {

/// Task name -> what a model scores there.
using Results = std::map<std::string, TaskResult, std::less<>>;

Results evaluate_all(Evaluator& evaluator, const bridge::Params& params, const std::vector<data::Task>& tasks, data::Split split);

/// The accuracies, by task name.
search::Metrics metrics(const Results& results);

/// What samples of a task are answered at a point: [samples, classes]. @param task  position in a list of tasks
using Logits = std::function<at::Tensor(size_t task, std::span<const double> coefficients)>;

/// Of the points of an expression; in the tangent space from one pass, where the weights are affine in the coefficients.
/// Lifetime: model, evaluator and tasks outlive the result.
Logits make_logits(EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks, data::Split split);

/// Measures points of an expression: accuracy on every task, NaN where the network's features are not finite. In the tangent
/// space (Evaluator::linearise) every point after the first costs a matrix product instead of a pass over the data.
/// @param axes   the coefficients of the model in the order of the points
/// @param split  Train or Val: nothing is chosen on test
/// @throws Error{InvalidArgument} for the test split, an axis that is no coefficient (nearest suggested), a coefficient without
/// an axis Lifetime: model and evaluator outlive the objective.
search::Objective make_objective(EditedClip& model, Evaluator& evaluator, std::vector<data::Task> tasks, data::Split split,
                                 const std::vector<search::Axis>& axes);

/// Everything that the metrics of a point depend on, the coefficients that apply() takes aside: the edit (edit::identity()), the
/// model and how it is evaluated (Evaluator::identity()), the tasks with their samples.
nlohmann::json identity(const EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks, data::Split split);

/// What a search chose on validation splits, and what that is worth on test.
struct CoefficientSearch {
  search::SearchResult result;
  search::Metrics reference;         ///< of the reference, on val
  nlohmann::json measured;           ///< identity(), where there is a log
  std::vector<double> coefficients;  ///< of the chosen point, else of the nearest, in the order of EditedClip::coefficients()
  Results test, reference_test;      ///< empty where no point satisfies the constraints
};

/// Grid search over the coefficients of an expression on validation splits, then the one look at the test split, at the choice.
/// @param reference  the model that `base` means in constraints
/// @param options    axes, goal, constraints, log; `reference` and `measured` are filled in here
/// @param searched   called between the two; may be empty
CoefficientSearch search_coefficients(EditedClip& model, EditedClip& reference, Evaluator& evaluator,
                                      const std::vector<data::Task>& tasks, search::SearchOptions options,
                                      const std::function<void()>& searched = {});

}  // namespace taskvec::eval
