#pragma once

#include "taskvec/core/error.h"
#include "taskvec/eval/edited_clip.h"
#include "taskvec/eval/evaluate.h"
#include "taskvec/search/search.h"

#include <limits>
#include <memory>

namespace taskvec::eval {

/// The accuracy that `measure` gives; NaN where the network's numbers are not finite: far out on a grid weights overflow, and
/// that is a bad point, not a failed search.
template <class Measure>
double accuracy_or_nan(const Measure& measure) {
  try {
    return measure().value();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::Numeric) return std::numeric_limits<double>::quiet_NaN();
    throw;
  }
}

/// Logits that are affine in coefficients, of features that are divided by their mean norm at coefficients of zero: float64.
struct AffineLogits {
  at::Tensor origin;  ///< [samples, classes]
  at::Tensor slopes;  ///< [coefficients, samples, classes]
  at::Tensor labels;  ///< [samples] int64
};

/// A search in the tangent space. Outputs of f_lin are affine in the coefficients of an expression that is: one pass over the
/// data with as many tangents as there are coefficients serves every point, and a point costs a matrix product.
class LinearSweep {
 public:
  /// Makes the pass. @return nothing where the weights are not affine in the coefficients (edit::is_affine()) or the text encoder
  /// moves with them. Lifetime: evaluator outlives the result.
  static std::shared_ptr<const LinearSweep> make(EditedClip& model, Evaluator& evaluator, const std::vector<data::Task>& tasks,
                                                 data::Split split);

  /// Logits of a task's samples, [samples, classes]. @param task  position in the list that was given
  at::Tensor logits(size_t task, std::span<const double> coefficients) const;
  size_t tasks() const { return outputs_.size(); }
  AffineLogits affine_logits(size_t task) const;
  /// Answers at these coefficients. @param task  position in the list that was given
  TaskResult result(size_t task, std::span<const double> coefficients) const;
  /// Accuracy by task name. @param coefficients  in the order of the model's
  search::Metrics metrics(std::span<const double> coefficients) const;

 private:
  bridge::Params point_;  // at coefficients of zero
  struct Outputs {
    data::Task task;
    tangent::AffineOutputs outputs;
    double seconds;  // of the pass
  };
  std::vector<Outputs> outputs_;
  Evaluator* evaluator_ = nullptr;
  data::Split split_ = data::Split::Val;
};

}  // namespace taskvec::eval
