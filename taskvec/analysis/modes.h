#pragma once

#include "taskvec/eval/evaluate.h"

namespace taskvec::analysis {

/// How much of what fine-tuning reached is lost in the tangent space (Ortiz-Jimenez et al. 2023, section 4), in shares of what
/// lies above chance: (standard - linearised) / (1 - 1/classes). @param classes  at least 2
double nonlinear_advantage(double standard, double linearised, int64_t classes);

/// One point of weight space as the network itself and as its linearisation.
struct ModeComparison {
  eval::Accuracy standard, linearised;
  double advantage = 0;  ///< nonlinear_advantage()
  double cka = 0;        ///< linear_cka() of the image features of the two
};

/// @param network, linearised  evaluators of the two kinds (Evaluator::linearise)
ModeComparison compare_modes(eval::Evaluator& network, eval::Evaluator& linearised, const bridge::Params& point,
                             const data::Task& task, data::Split split);

}  // namespace taskvec::analysis
