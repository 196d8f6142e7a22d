#include "taskvec/edit/plan.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/reducer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace taskvec::edit {
namespace {

/// Makes a Plan tensor by tensor; the checks that need all sources side by side.
class Planner {
 public:
  Planner(const Expr& expr, const Bindings& bindings, const PlanOptions& options) : reducer_(expr), options_(options) {
    if (!expr.node().weights)
      fail(ErrorCode::InvalidArgument, "'{}' is a number; an edit needs at least one source", to_string(expr));
    plan_.expression = to_string(expr);
    plan_.coefficients = options.coefficients;
    plan_.source_names = reducer_.sources();
    std::vector<std::string> known;
    for (const auto& [name, checkpoint] : bindings) known.push_back(name);
    for (const auto& name : plan_.source_names) {
      const auto found = bindings.find(name);
      if (found == bindings.end())
        fail(ErrorCode::InvalidArgument, "unknown source '{}'{}; bind it with -s {}=PATH", name, did_you_mean(name, known), name);
      plan_.sources.push_back(found->second);
    }
    choose_base();
    check_coefficients(expr);
    check_patterns();
  }

  Plan make() && {
    const auto& base = manifest(plan_.base);
    for (const auto& entry : base.tensors) add(entry.name, entry.file);
    for (size_t s = 0; s < plan_.sources.size(); ++s) {
      if (s == plan_.base) continue;
      for (const auto& entry : manifest(s).tensors) {
        if (base.find(entry.name) != nullptr || added_.contains(entry.name)) continue;
        if (!options_.allow_missing) fail_missing(entry.name, s, plan_.base);
        add(entry.name, 0);
      }
    }
    compare_integers();
    return std::move(plan_);
  }

 private:
  const formats::Manifest& manifest(size_t source) const { return plan_.sources[source]->manifest(); }
  std::string path(size_t source) const { return plan_.sources[source]->path().string(); }

  void choose_base() {
    if (options_.base.empty()) return;
    const auto& names = plan_.source_names;
    const auto found = std::find(names.begin(), names.end(), options_.base);
    if (found == names.end())
      fail(ErrorCode::InvalidArgument, "base '{}' is no source of the expression{}", options_.base,
           did_you_mean(options_.base, names));
    plan_.base = static_cast<size_t>(found - names.begin());
  }

  void check_coefficients(const Expr& expr) const {
    const auto used = expr.coefficients();
    for (const auto& [name, value] : options_.coefficients)
      if (std::find(used.begin(), used.end(), name) == used.end())
        fail(ErrorCode::InvalidArgument, "the expression has no coefficient ${}{}", name, did_you_mean(name, used));
  }

  void check_patterns() const {
    for (const auto& pattern : reducer_.patterns()) {
      const auto matches = [&](const auto& entry) { return pattern.matches(entry.name); };
      const bool any = std::any_of(plan_.sources.begin(), plan_.sources.end(), [&](const auto& source) {
        return std::any_of(source->manifest().tensors.begin(), source->manifest().tensors.end(), matches);
      });
      if (!any) fail(ErrorCode::InvalidArgument, "pattern \"{}\" matches no tensor of {}", pattern.pattern(), path(plan_.base));
    }
  }

  [[noreturn]] void fail_missing(const std::string& tensor, size_t has, size_t lacks) const {
    std::vector<std::string> names;
    for (const auto& entry : manifest(lacks).tensors) names.push_back(entry.name);
    fail(ErrorCode::InvalidArgument, "tensor '{}' is in {} ({}) but not in {} ({}){}; --allow-missing copies it from where it is",
         tensor, plan_.source_names[has], path(has), plan_.source_names[lacks], path(lacks), did_you_mean(tensor, names));
  }

  /// The coefficients of tensors for which the same patterns match: reduced once.
  const std::vector<double>& coefficients(const std::string& name) {
    const std::string key = reducer_.key(name);
    auto found = by_key_.find(key);
    if (found == by_key_.end()) found = by_key_.emplace(key, reducer_.coefficients(key, options_.coefficients)).first;
    return found->second;
  }

  void add(const std::string& name, int shard) {
    added_.emplace(name, plan_.tensors.size());
    TensorPlan tensor;
    tensor.name = name;
    tensor.shard = shard;
    const auto& weights = coefficients(name);
    const formats::TensorEntry* first = nullptr;
    size_t first_source = 0;
    bool everywhere = true;
    for (size_t s = 0; s < plan_.sources.size(); ++s) {
      const auto* entry = manifest(s).find(name);
      if (entry == nullptr) {
        everywhere = false;
        if (!options_.allow_missing) fail_missing(name, first != nullptr ? first_source : plan_.base, s);
        continue;
      }
      if (first == nullptr) {
        first = entry;
        first_source = s;
      } else {
        check_same(name, *first, first_source, *entry, s);
      }
    }
    const auto* base_entry = manifest(plan_.base).find(name);
    const size_t donor = base_entry != nullptr ? plan_.base : first_source;
    tensor.info = base_entry != nullptr ? base_entry->info : first->info;
    const bool arithmetic = is_float(tensor.info.dtype) && everywhere;
    if (is_float(tensor.info.dtype) && options_.dtype) tensor.info.dtype = *options_.dtype;
    if (arithmetic) {
      add_terms(tensor, weights);
    } else {
      tensor.terms.push_back({donor, 1.0});
    }
    tensor.is_copy = tensor.terms.size() == 1 && tensor.terms[0].coefficient == 1.0 &&
                     manifest(tensor.terms[0].source).find(name)->info.dtype == tensor.info.dtype;
    plan_.tensors.push_back(std::move(tensor));
  }

  void add_terms(TensorPlan& tensor, const std::vector<double>& weights) {
    double sum = 0;
    for (size_t s = 0; s < weights.size(); ++s) {
      if (!std::isfinite(weights[s]))
        fail(ErrorCode::InvalidArgument, "the coefficient of {} for tensor '{}' is {}", plan_.source_names[s], tensor.name,
             weights[s]);
      if (weights[s] != 0) tensor.terms.push_back({s, weights[s]});
      sum += weights[s];
    }
    const auto participants = reducer_.participants(reducer_.key(tensor.name));
    if (std::find(participants.begin(), participants.end(), true) == participants.end())
      fail(ErrorCode::InvalidArgument, "no term of the expression selects tensor '{}'; add a source without a pattern, e.g. base",
           tensor.name);
    if (std::abs(sum) < 1e-12 && plan_.warnings.empty())
      plan_.warnings.push_back("the coefficients of tensor '" + tensor.name +
                               "' sum to 0: the result is a task vector, not a model");
  }

  void check_same(const std::string& name, const formats::TensorEntry& a, size_t source_a, const formats::TensorEntry& b,
                  size_t source_b) const {
    if (a.info.shape != b.info.shape)
      fail(ErrorCode::InvalidArgument, "tensor '{}' has shape {} in {} ({}) and {} in {} ({})", name,
           taskvec::to_string(a.info.shape), plan_.source_names[source_a], path(source_a), taskvec::to_string(b.info.shape),
           plan_.source_names[source_b], path(source_b));
    const bool both_float = is_float(a.info.dtype) && is_float(b.info.dtype);
    if (!both_float && a.info.dtype != b.info.dtype)
      fail(ErrorCode::InvalidArgument, "tensor '{}' is {} in {} ({}) and {} in {} ({})", name, taskvec::name(a.info.dtype),
           plan_.source_names[source_a], path(source_a), taskvec::name(b.info.dtype), plan_.source_names[source_b],
           path(source_b));
  }

  /// Tensors that arithmetic does not apply to are copied; sources that differ in them are no edits of the same thing.
  void compare_integers() const {
    if (options_.allow_differing_integers) return;
    parallel_for(static_cast<int64_t>(plan_.tensors.size()), [&](int64_t i) {
      const auto& tensor = plan_.tensors[static_cast<size_t>(i)];
      if (is_float(tensor.info.dtype)) return;
      const size_t donor = tensor.terms[0].source;
      const auto expected = plan_.sources[donor]->tensor(tensor.name);
      for (size_t s = 0; s < plan_.sources.size(); ++s) {
        if (s == donor || manifest(s).find(tensor.name) == nullptr) continue;
        const auto actual = plan_.sources[s]->tensor(tensor.name);
        if (!std::ranges::equal(expected.view.bytes, actual.view.bytes))
          fail(ErrorCode::InvalidArgument,
               "{} tensor '{}' differs between {} ({}) and {} ({}); --allow-differing-integers takes it from the base",
               taskvec::name(tensor.info.dtype), tensor.name, plan_.source_names[donor], path(donor), plan_.source_names[s],
               path(s));
      }
    });
  }

  Reducer reducer_;
  const PlanOptions& options_;
  Plan plan_;
  std::map<std::string, std::vector<double>> by_key_;
  std::map<std::string, size_t, std::less<>> added_;
};

}  // namespace

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
  if (options.dtype && !is_float(*options.dtype))
    fail(ErrorCode::InvalidArgument, "an edit cannot be written as {}; choose F64, F32, F16, BF16, F8_E4M3 or F8_E5M2",
         name(*options.dtype));
  return Planner(expr, bindings, options).make();
}

}  // namespace taskvec::edit
