#include "taskvec/analysis/modes.h"

#include "taskvec/analysis/kernel.h"

namespace taskvec::analysis {

double nonlinear_advantage(double standard, double linearised, int64_t classes) {
  return (standard - linearised) / (1 - 1 / static_cast<double>(classes));
}

ModeComparison compare_modes(eval::Evaluator& network, eval::Evaluator& linearised, const bridge::Params& point,
                             const data::Task& task, data::Split split) {
  const at::Tensor own = network.features(point, task, split), first_order = linearised.features(point, task, split);
  ModeComparison result{network.score(own, point, task, split).accuracy,
                        linearised.score(first_order, point, task, split).accuracy};
  result.advantage =
      nonlinear_advantage(result.standard.value(), result.linearised.value(), static_cast<int64_t>(task.classes.size()));
  result.cka = linear_cka(own, first_order);
  return result;
}

}  // namespace taskvec::analysis
