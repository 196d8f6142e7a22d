#include "taskvec/edit/plan.h"

#include "taskvec/edit/draft.h"
#include "taskvec/formats/delta/delta.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace taskvec::edit {

std::vector<size_t> Plan::sources_of(const TensorPlan& tensor, bool looked_at) const {
  std::vector<size_t> found;
  for (const auto& term : tensor.terms)
    if (term.source < sources.size()) found.push_back(term.source);
  for (const auto& call : tensor.calls) {
    if (!call.used && !looked_at) continue;
    for (const auto& argument : call.arguments)
      for (const auto& term : argument)
        if (term.source < sources.size() && std::ranges::find(found, term.source) == found.end()) found.push_back(term.source);
  }
  return found;
}

int64_t Plan::bytes_read() const {
  int64_t total = 0;
  for (const auto& tensor : tensors)
    for (const size_t source : sources_of(tensor)) total += sources[source]->manifest().find(tensor.name)->info.nbytes();
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
  made.plan.tangent_origin = tangent_origin(made.plan.sources, made.plan.source_names, options.mode);
  if (!made.plan.tangent_origin.empty())
    made.plan.notes.push_back(
        "the result is a point of its sources' tangent space, as its metadata say: evaluate it with taskvec; as an "
        "ordinary network it scores otherwise");
  // Of task vectors alone any sum is one.
  const bool any_model = std::ranges::any_of(made.plan.sources, [](const auto& source) { return !source->manifest().delta; });
  std::set<std::string> bases;
  for (const auto& source : made.plan.sources)
    if (const auto delta = formats::delta_info(*source); delta && !any_model) bases.insert(delta->base.fingerprint);
  if (bases.size() > 1)
    made.plan.notes.push_back("the task vectors have different bases: what is written is not known as a task vector");
  for (size_t i = 0; i < weights.size() && any_model; ++i) {
    const double sum = model_share(made.plan, weights[i].atoms);
    const std::string& tensor = made.plan.tensors[made.first_named[i]].name;
    if (std::abs(sum - 1) <= 1e-9) continue;
    if (sum == 0) {
      made.plan.warnings.push_back(fmt::format(
          "the coefficients of tensor '{}' sum to 0: the result is a difference, not a model; `taskvec extract BASE FT` "
          "writes one that expressions and `apply` know as a task vector",
          tensor));
    } else {
      made.plan.warnings.push_back(
          fmt::format("the coefficients of tensor '{}' sum to {:.6g}, so that weights are that many times as large; a model and "
                      "task vectors sum to 1, "
                      "as in base + 0.3*(ft - base)",
                      tensor, sum));
    }
    break;
  }
  return std::move(made.plan);
}

}  // namespace taskvec::edit
