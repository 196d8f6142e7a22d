#pragma once

#include "taskvec/edit/expression/reducer.h"
#include "taskvec/edit/plan.h"

namespace taskvec::edit {

/// A plan whose coefficients can still be chosen: every check that needs no coefficient has been made.
struct Draft {
  static constexpr size_t kFixed = static_cast<size_t>(-1);

  Plan plan;
  Reducer reducer;
  std::vector<std::string> keys;    ///< of Reducer; distinct, of the tensors that arithmetic applies to
  std::vector<size_t> group;        ///< per tensor: index into `keys`, or kFixed for a copy whatever the coefficients
  std::vector<size_t> first_named;  ///< per key: the first tensor that has it
};

/// Everything that plan() checks except what depends on coefficients' values; terms of tensors in groups are empty.
Draft draft(const Expr& expr, const Bindings& bindings, const PlanOptions& options);

/// What tensors of one key are made of.
struct Form {
  std::vector<double> atoms;  ///< a coefficient per source, then per call
  std::vector<Reducer::CallForm> calls;
  bool operator==(const Form&) const = default;
};

/// What the coefficients of models come to in a sum: 1 for a model, 0 (exactly, where it is but for rounding) for a task vector.
double model_share(const Plan& plan, const std::vector<double>& atoms);

/// One per key. @throws as reduce(), and where an argument of a method is no task vector
std::vector<Form> coefficients(const Draft& draft, const CoefficientValues& values);

/// Fills the terms and calls of the tensors in groups.
void set_terms(Draft& draft, const std::vector<Form>& forms);

}  // namespace taskvec::edit
