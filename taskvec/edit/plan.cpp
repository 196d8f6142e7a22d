#include "taskvec/edit/plan.h"

#include "taskvec/edit/draft.h"

#include <fmt/format.h>

#include <cmath>

namespace taskvec::edit {

int64_t Plan::bytes_read() const {
  int64_t total = 0;
  for (const auto& tensor : tensors)
    for (const auto& term : tensor.terms) total += sources[term.source]->manifest().find(tensor.name)->info.nbytes();
  return total;
}

int64_t Plan::bytes_written() const {
  int64_t total = 0;
  for (const auto& tensor : tensors) total += tensor.info.nbytes();
  return total;
}

Plan plan(const Expr& expr, const Bindings& bindings, const PlanOptions& options) {
  Draft made = draft(expr, bindings, options);
  const auto weights = coefficients(made, options.coefficients);
  set_terms(made, weights);
  for (size_t i = 0; i < weights.size(); ++i) {
    double sum = 0;
    for (size_t s = 0; s < weights[i].size(); ++s)
      if (!made.plan.sources[s]->manifest().delta) sum += weights[i][s];
    if (std::abs(sum) > 1e-12) continue;
    made.plan.warnings.push_back(fmt::format("the coefficients of tensor '{}' sum to 0: the result is a task vector, not a model",
                                             made.plan.tensors[made.first_named[i]].name));
    break;
  }
  return std::move(made.plan);
}

}  // namespace taskvec::edit
