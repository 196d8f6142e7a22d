#include "taskvec/edit/executors/merges.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/progress.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/expression/node.h"
#include "taskvec/kernels/count_magnitudes.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>

namespace taskvec::edit {
namespace {

/// Scopes whose passes are made together: enough to keep every core busy, few enough for what threads gather to stay small.
constexpr size_t kScopesAtOnce = 16;
constexpr int64_t kElementsAtOnce = int64_t{1} << 23;

/// Elements [first, first + n) of a tile.
struct Run {
  int64_t first, n;
};

std::vector<Run> all_of(const Tile& tile, int64_t step) {
  std::vector<Run> runs;
  for (int64_t first = 0; first < tile.n; first += step) runs.push_back({first, std::min(step, tile.n - first)});
  return runs;
}

/// One element of 64, in short runs at places that repeat nothing that the weights may repeat.
/// @param alignment  of the runs
std::vector<Run> sample_of(const Tile& tile, int64_t alignment) {
  constexpr int64_t kShare = 64;
  const int64_t n = std::max<int64_t>(256, alignment), places = kShare * n / alignment;
  const Philox random(0, fmt::format("sample of {} {}", tile.tensor, tile.begin));
  std::vector<Run> runs;
  for (int64_t begin = 0; begin < tile.n; begin += kShare * n) {
    const auto place =
        static_cast<int64_t>(random.below(static_cast<uint64_t>(begin / (kShare * n)), static_cast<uint64_t>(places)));
    const int64_t first = begin + place * alignment;
    if (first < tile.n) runs.push_back({first, std::min(n, tile.n - first)});
  }
  return runs;
}

/// What threads found in a pass over one scope: each takes what another has left, so that there are no more than threads.
class Pool {
 public:
  explicit Pool(const Merge& merge) : merge_(merge) {}
  std::unique_ptr<Merge::Findings> take() {
    const std::lock_guard lock(mutex_);
    if (left_.empty()) return merge_.findings();
    auto findings = std::move(left_.back());
    left_.pop_back();
    return findings;
  }
  void leave(std::unique_ptr<Merge::Findings> findings) {
    const std::lock_guard lock(mutex_);
    left_.push_back(std::move(findings));
  }
  const std::vector<std::unique_ptr<Merge::Findings>>& left() const { return left_; }

 private:
  const Merge& merge_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Merge::Findings>> left_;
};

std::vector<std::span<const float>> spans(const std::vector<std::vector<float>>& values) {
  return {values.begin(), values.end()};
}

/// A sum in float32.
void add(std::span<const kernels::Addend> addends, std::span<float> out) {
  const auto is = [&](size_t k, double coefficient) {
    return addends[k].dtype == Dtype::BF16 && addends[k].coefficient == coefficient;
  };
  if (addends.size() == 2 && is(0, 1) && is(1, -1)) {
    kernels::subtract_bf16(addends[0].data, addends[1].data, out);
  } else if (addends.size() == 2 && is(0, -1) && is(1, 1)) {
    kernels::subtract_bf16(addends[1].data, addends[0].data, out);
  } else {
    kernels::weighted_sum(addends, static_cast<int64_t>(out.size()), Dtype::F32, reinterpret_cast<std::byte*>(out.data()));
  }
}

/// Where all sources hold the same bits, an infinity say, a task vector is 0. @throws Error{Numeric} for any other element that
/// is not finite: it has no place among the magnitudes
void check_finite(std::span<const kernels::Addend> addends, std::span<float> argument, const Plan& plan,
                  const TensorPlan::Call& call, const TensorPlan& tensor) {
  for (size_t j = 0; j < argument.size(); ++j) {
    if (std::isfinite(argument[j])) continue;
    const auto size = static_cast<size_t>(itemsize(addends.front().dtype));
    const bool equal = addends.size() > 1 && std::ranges::all_of(addends, [&](const kernels::Addend& addend) {
                         return addend.dtype == addends.front().dtype &&
                                std::memcmp(addend.data + j * size, addends.front().data + j * size, size) == 0;
                       });
    if (!equal)
      fail(ErrorCode::Numeric,
           "tensor '{}': an argument of {} holds an element that is NaN or infinite, or too large for float32, in which methods "
           "compute; leave the tensor out with a pattern, or mend the source (taskvec verify finds it)",
           tensor.name, to_string(plan.calls[call.index]));
    argument[j] = 0;
  }
}

}  // namespace

Merges::Merges(const Plan& plan, const Merges* last) : plan_(&plan) {
  find_scopes(plan);
  size_t done = 0;
  for (size_t begin = 0; begin < scopes_.size(); begin = done) {
    // Inner calls are finished before those that they are arguments of.
    const size_t call = scopes_[begin].call.index;
    std::vector<int64_t> sizes;
    int64_t elements = 0;
    for (done = begin;
         done < scopes_.size() && done < begin + kScopesAtOnce && scopes_[done].call.index == call && elements < kElementsAtOnce;
         ++done) {
      Scope& scope = scopes_[done];
      const auto same = [&](const Scope& other) { return other.call == scope.call && other.tensors == scope.tensors; };
      // Of a call in a call the arguments do not tell whether the inner one changed: it is made anew.
      const bool nested = std::ranges::any_of(scope.call.arguments, [&](const auto& terms) {
        return std::ranges::any_of(terms, [&](const auto& term) { return term.source >= plan.sources.size(); });
      });
      if (last != nullptr && !nested)
        if (const auto found = std::ranges::find_if(last->scopes_, same); found != last->scopes_.end()) {
          scope.merge = found->merge;
          continue;
        }
      sizes.clear();
      for (const size_t tensor : scope.tensors) sizes.push_back(plan.tensors[tensor].info.numel());
      elements += std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
      scope.merge = find_method(plan.calls[call].node().text)->begin(scope.call.settings, sizes);
    }
    finish(std::span(scopes_).subspan(begin, done - begin));
  }
}

void Merges::find_scopes(const Plan& plan) {
  places_.resize(plan.tensors.size());
  for (size_t t = 0; t < plan.tensors.size(); ++t) places_[t].resize(plan.tensors[t].calls.size());
  for (size_t c = 0; c < plan.calls.size(); ++c) {
    const Method& method = *find_method(plan.calls[c].node().text);
    std::optional<size_t> whole;  // the scope of the whole model
    for (size_t t = 0; t < plan.tensors.size(); ++t) {
      const auto& calls = plan.tensors[t].calls;
      const auto call = std::ranges::find(calls, c, &TensorPlan::Call::index);
      if (call == calls.end()) continue;
      if (!method.whole_model(call->settings)) {
        scopes_.push_back({*call, {t}, nullptr});
      } else if (!whole) {
        whole = scopes_.size();
        scopes_.push_back({*call, {t}, nullptr});
      } else {
        if (scopes_[*whole].call.settings != call->settings)
          fail(ErrorCode::InvalidArgument, "{}: its parameters differ between tensors, and it looks at the whole model",
               to_string(plan.calls[c]));
        scopes_[*whole].tensors.push_back(t);
      }
      const size_t scope = method.whole_model(call->settings) ? *whole : scopes_.size() - 1;
      places_[t][static_cast<size_t>(call - calls.begin())] = {scope, scopes_[scope].tensors.size() - 1};
    }
  }
}

void Merges::finish(std::span<Scope> scopes) {
  while (std::ranges::any_of(scopes, [](const Scope& scope) { return scope.merge->needs_pass(); })) pass(scopes);
}

void Merges::pass(std::span<Scope> scopes) {
  struct Work {
    size_t scope, position;
    Tile tile;
  };
  std::vector<Work> work;
  std::vector<std::unique_ptr<Pool>> pools;
  int64_t elements = 0;
  for (size_t s = 0; s < scopes.size(); ++s) {
    pools.push_back(std::make_unique<Pool>(*scopes[s].merge));
    if (!scopes[s].merge->needs_pass()) continue;
    for (size_t position = 0; position < scopes[s].tensors.size(); ++position)
      for (const Tile& tile : tiles_of(*plan_, scopes[s].tensors[position])) {
        work.push_back({s, position, tile});
        elements += tile.n;
      }
  }
  Progress progress(plan_->calls[scopes.front().call.index].node().text + ", looking ahead", elements, "elements");
  parallel_for(static_cast<int64_t>(work.size()), [&](int64_t i) {
    const auto& [s, position, tile] = work[static_cast<size_t>(i)];
    const TensorPlan& tensor = plan_->tensors[tile.tensor];
    const auto sources = sources_of(*plan_, tile, /*looked_at=*/true);
    for (const auto& source : sources) source.read_ahead();
    const auto call = std::ranges::find(tensor.calls, scopes[s].call.index, &TensorPlan::Call::index);
    auto findings = pools[s]->take();
    const auto inner_calls = static_cast<size_t>(call - tensor.calls.begin());
    const auto parts = scopes[s].merge->samples() ? sample_of(tile, inner_calls > 0 ? kPartAlignment : 1) : all_of(tile, kStep);
    for (const auto& [first, n] : parts) {
      CallValues inner;
      add_values(tensor, inner_calls, tile, sources, first, n, /*used_only=*/false, inner);
      const auto values = arguments(tensor, *call, sources, inner, first, n);
      const auto views = spans(values);
      findings->add({position, tile.begin + first, views});
    }
    pools[s]->leave(std::move(findings));
    for (const auto& source : sources) source.release();
    progress.add(tile.n);
  });
  parallel_for(static_cast<int64_t>(scopes.size()), [&](int64_t i) {
    const auto s = static_cast<size_t>(i);
    if (!scopes[s].merge->needs_pass()) return;
    for (const auto& findings : pools[s]->left()) scopes[s].merge->take(*findings);
    scopes[s].merge->end_pass();
  });
}

std::vector<std::vector<float>> Merges::arguments(const TensorPlan& tensor, const TensorPlan::Call& call,
                                                  std::span<const TileSource> sources, const CallValues& inner, int64_t first,
                                                  int64_t n) const {
  std::vector<std::vector<float>> values;
  for (const auto& terms : call.arguments) {
    auto& argument = values.emplace_back(static_cast<size_t>(n));
    const auto addends = addends_of(terms, sources, inner, first);
    add(addends, argument);
    if (kernels::count_non_finite(Dtype::F32, reinterpret_cast<const std::byte*>(argument.data()), n) > 0)
      check_finite(addends, argument, *plan_, call, tensor);
  }
  return values;
}

/// Of the first `calls` calls of a tensor.
void Merges::add_values(const TensorPlan& tensor, size_t calls, const Tile& tile, std::span<const TileSource> sources,
                        int64_t first, int64_t n, bool used_only, CallValues& values) const {
  for (size_t c = 0; c < calls; ++c) {
    if (used_only && !tensor.calls[c].used) continue;
    const auto given = arguments(tensor, tensor.calls[c], sources, values, first, n);
    const auto views = spans(given);
    const Place& place = places_[tile.tensor][c];
    auto& out = values[plan_->sources.size() + tensor.calls[c].index];
    out.resize(static_cast<size_t>(n));
    scopes_[place.scope].merge->values({place.tensor, tile.begin + first, views}, out);
    if (kernels::count_non_finite(Dtype::F32, reinterpret_cast<const std::byte*>(out.data()), n) > 0)
      fail(ErrorCode::Numeric, "tensor '{}': {} comes to more than float32 holds, in which methods compute", tensor.name,
           to_string(plan_->calls[tensor.calls[c].index]));
  }
}

CallValues Merges::values(const Tile& tile, std::span<const TileSource> sources, int64_t first, int64_t n) const {
  const TensorPlan& tensor = plan_->tensors[tile.tensor];
  CallValues values;
  add_values(tensor, tensor.calls.size(), tile, sources, first, n, /*used_only=*/true, values);
  return values;
}

}  // namespace taskvec::edit
