#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/delta_base.h"
#include "taskvec/edit/draft.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/executors/merges.h"
#include "taskvec/edit/executors/tile.h"

#include <algorithm>
#include <atomic>
#include <optional>

namespace taskvec::edit {
namespace {

/// What was last written into one sink: a form per key, empty where nothing or no longer known.
struct Written {
  uint64_t sink = 0;
  bool fixed = false;  // the tensors that no coefficient changes
  std::vector<Form> forms;
};

constexpr size_t kSinksRemembered = 16;

uint64_t next_sink_id() {
  static std::atomic<uint64_t> next{1};
  return next++;
}

}  // namespace

ParamSink::ParamSink() : id_(next_sink_id()) {}
ParamSink::ParamSink(const ParamSink&) : id_(next_sink_id()) {}

struct Resident::State {
  Draft draft;
  CoefficientValues values;
  std::vector<std::string> names;
  std::vector<Written> written;  // oldest first
  std::optional<Merges> merges;
};

Resident::Resident(Expr expr, Bindings bindings, PlanOptions options)
    : state_(std::make_unique<State>(State{.draft = edit::draft(expr, bindings, options),
                                           .values = options.coefficients,
                                           .names = {},
                                           .written = {},
                                           .merges = {}})) {
  State& state = *state_;
  for (const auto& name : expr.coefficients())
    if (!options.coefficients.contains(name)) state.names.push_back(name);
  check_delta_bases(state.draft.plan, [&](size_t source) { return state.draft.plan.sources[source]->fingerprint(); });
  if (state.names.empty()) set_terms(state.draft, edit::coefficients(state.draft, state.values));
}

Resident::~Resident() = default;

const Plan& Resident::layout() const { return state_->draft.plan; }

const std::vector<std::string>& Resident::coefficients() const { return state_->names; }

std::vector<Form> Resident::set(std::span<const double> values) {
  State& state = *state_;
  if (values.size() != state.names.size())
    fail(ErrorCode::InvalidArgument, "{} values for the {} coefficients of {}", values.size(), state.names.size(),
         state.draft.plan.expression);
  for (size_t i = 0; i < values.size(); ++i) state.values[state.names[i]] = values[i];
  auto wanted = edit::coefficients(state.draft, state.values);
  set_terms(state.draft, wanted);
  return wanted;
}

const Plan& Resident::at(std::span<const double> values) {
  set(values);
  return layout();
}

void Resident::apply(std::span<const double> values, ParamSink& sink) {
  State& state = *state_;
  auto wanted = set(values);
  const auto found = std::find_if(state.written.begin(), state.written.end(), [&](const auto& w) { return w.sink == sink.id(); });
  Written last;
  if (found != state.written.end()) {
    last = std::move(*found);
    state.written.erase(found);  // comes back when the sink is complete again
  }
  // A method may look at the whole model: where anything of a call changed, it may have changed everywhere.
  bool calls_changed = last.forms.size() != wanted.size();
  for (size_t i = 0; i < wanted.size() && !calls_changed; ++i) calls_changed = last.forms[i].calls != wanted[i].calls;
  last.forms.resize(wanted.size());

  const Plan& plan = state.draft.plan;
  std::vector<std::span<std::byte>> targets(plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const size_t group = state.draft.group[i];
    const bool calls = !plan.tensors[i].calls.empty() && calls_changed;
    const bool unchanged = group == Draft::kFixed ? last.fixed : last.forms[group] == wanted[group] && !calls;
    if (unchanged) continue;
    targets[i] = sink.tensor(i, plan.tensors[i]);
    if (targets[i].size() != static_cast<size_t>(plan.tensors[i].info.nbytes()))
      fail(ErrorCode::InvalidArgument, "a sink has {} bytes for tensor '{}'; expected {}", targets[i].size(),
           plan.tensors[i].name, plan.tensors[i].info.nbytes());
  }
  if (!plan.calls.empty()) {
    Merges merges(plan, state.merges ? &*state.merges : nullptr);
    state.merges = std::move(merges);
  }
  const auto tiles = tiles_of(plan);
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const Tile& tile = tiles[static_cast<size_t>(i)];
    const auto& tensor = plan.tensors[tile.tensor];
    if (targets[tile.tensor].empty()) return;
    std::byte* out = targets[tile.tensor].data() + tile.begin * itemsize(tensor.info.dtype);
    const auto sources = sources_of(plan, tile);
    const int64_t step = tensor.calls.empty() ? tile.n : Merges::kStep;
    for (int64_t first = 0; first < tile.n; first += step) {
      const int64_t n = std::min(step, tile.n - first);
      const auto calls = tensor.calls.empty() ? CallValues() : state.merges->values(tile, sources, first, n);
      compute(tensor, sources, first, n, plan.options.on_overflow == OnOverflow::Saturate,
              out + first * itemsize(tensor.info.dtype), calls);
    }
  });

  if (state.written.size() >= kSinksRemembered) state.written.erase(state.written.begin());
  state.written.push_back({.sink = sink.id(), .fixed = true, .forms = std::move(wanted)});
}

}  // namespace taskvec::edit
