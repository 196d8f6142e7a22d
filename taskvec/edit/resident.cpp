#include "taskvec/core/error.h"
#include "taskvec/edit/execute.h"
#include "taskvec/edit/tile.h"

#include <algorithm>

namespace taskvec::edit {

struct Resident::State {
  Expr expr;
  Bindings bindings;
  PlanOptions options;
  std::vector<std::string> names;
  Plan layout;
  const ParamSink* last_sink = nullptr;
  std::vector<std::vector<TensorPlan::Term>> last_terms;
};

Resident::Resident(Expr expr, Bindings bindings, PlanOptions options)
    : state_(std::make_unique<State>(State{std::move(expr), std::move(bindings), std::move(options), {}, {}, nullptr, {}})) {
  State& state = *state_;
  for (const auto& name : state.expr.coefficients()) {
    if (!state.options.coefficients.contains(name)) state.names.push_back(name);
  }
  for (const auto& name : state.names) state.options.coefficients[name] = 0;
  state.layout = plan(state.expr, state.bindings, state.options);
  state.options.allow_differing_integers = true;  // compared once is enough
}

Resident::~Resident() = default;

const Plan& Resident::layout() const { return state_->layout; }

const std::vector<std::string>& Resident::coefficients() const { return state_->names; }

void Resident::apply(std::span<const double> values, ParamSink& sink) {
  State& state = *state_;
  if (values.size() != state.names.size())
    fail(ErrorCode::InvalidArgument, "{} values for {} coefficients", values.size(), state.names.size());
  for (size_t i = 0; i < values.size(); ++i) state.options.coefficients[state.names[i]] = values[i];
  Plan point = plan(state.expr, state.bindings, state.options);

  if (state.last_sink != &sink) state.last_terms.assign(point.tensors.size(), {});
  state.last_sink = &sink;
  const auto same = [](const auto& a, const auto& b) { return a.source == b.source && a.coefficient == b.coefficient; };
  std::vector<std::span<std::byte>> targets(point.tensors.size());
  for (size_t i = 0; i < point.tensors.size(); ++i) {
    auto& terms = point.tensors[i].terms;
    auto& last = state.last_terms[i];
    const bool unchanged = !last.empty() && std::equal(terms.begin(), terms.end(), last.begin(), last.end(), same);
    if (!unchanged) targets[i] = sink.tensor(i, point.tensors[i]);
    last = terms;
  }
  for_each_tile(point, [&](size_t index, int64_t begin, int64_t n) {
    if (targets[index].empty()) return;
    compute_tile(point, point.tensors[index], begin, n,
                 targets[index].data() + begin * itemsize(point.tensors[index].info.dtype));
  });
}

}  // namespace taskvec::edit
