#include "taskvec/edit/draft.h"

#include "taskvec/edit/sources/align.h"
#include "taskvec/edit/sources/match_sources.h"
#include "taskvec/edit/sources/model_config.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/quantised/quantised.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace taskvec::edit {
namespace {

using formats::TensorEntry;

/// Makes a Draft tensor by tensor: the checks that need all sources side by side.
class Drafter {
 public:
  Drafter(const Expr& expr, const Bindings& bindings, const PlanOptions& options)
      : options_(options), draft_{.plan = {}, .reducer = Reducer(expr), .keys = {}, .group = {}, .first_named = {}} {
    plan_.expression = to_string(expr);
    plan_.options = options;
    plan_.source_names = draft_.reducer.sources();
    plan_.calls = draft_.reducer.calls();
    bind(bindings);
    choose_base();
    std::vector<std::string> labels;
    for (size_t source = 0; source < plan_.sources.size(); ++source) labels.push_back(label(source));
    if (options.dtype)  // else one source alone may be a copy, as set_terms() will see
      for (size_t source = 0; source < plan_.sources.size(); ++source)
        formats::check_plain(*plan_.sources[source], labels[source]);
    Matched matched = match_sources(std::move(plan_.sources), labels, plan_.base, options.vocabulary);
    plan_.sources = std::move(matched.sources);
    plan_.notes = std::move(matched.notes);
    plan_.unties = matched.unties;
    plan_.warnings.insert(plan_.warnings.end(), matched.warnings.begin(), matched.warnings.end());
    check_patterns();
  }

  Draft make() && {
    for (const auto& entry : manifest(plan_.base).tensors) add(entry.name);
    for (size_t s = 0; s < plan_.sources.size(); ++s) {
      if (s == plan_.base) continue;
      for (const auto& entry : manifest(s).tensors)
        if (!added_.contains(entry.name) && key_of(entry.name).participants[s]) add(entry.name);
    }
    if (copied_ > 0)
      plan_.warnings.push_back(
          fmt::format("{} tensors are not in every source and are copied, e.g. '{}'", copied_, first_copied_));
    if (constants_ > 0)
      plan_.notes.push_back(
          fmt::format("{} constant tensors are not in every source and are taken from where they are, e.g. '{}'", constants_,
                      first_constant_));
    compare_integers();
    return std::move(draft_);
  }

 private:
  struct Key {
    std::vector<bool> participants;  // per source
    std::optional<size_t> index;     // into draft_.keys, once a tensor needs it
  };

  const formats::Manifest& manifest(size_t source) const { return plan_.sources[source]->manifest(); }
  /// "ft (models/ft.safetensors)"
  std::string label(size_t source) const {
    return fmt::format("{} ({})", plan_.source_names[source], plan_.sources[source]->path().string());
  }

  void bind(const Bindings& bindings) {
    std::vector<std::string> known;
    for (const auto& [name, checkpoint] : bindings) known.push_back(name);
    for (const auto& name : plan_.source_names) {
      const auto found = bindings.find(name);
      if (found == bindings.end())
        fail(ErrorCode::InvalidArgument, "unknown source '{}'{}; bind it with -s {}=PATH", name, did_you_mean(name, known), name);
      if (const auto delta = formats::delta_info(*found->second); delta && delta->kind == formats::DeltaKind::Lossless)
        fail(ErrorCode::InvalidArgument,
             "source '{}' ({}) is a lossless task vector, which cannot be added or scaled; `taskvec apply BASE {} -o FT` makes "
             "the "
             "fine-tuned checkpoint",
             name, found->second->path().string(), found->second->path().string());
      plan_.sources.push_back(found->second);
    }
    for (const auto& name : known)
      if (std::find(plan_.source_names.begin(), plan_.source_names.end(), name) == plan_.source_names.end())
        plan_.warnings.push_back(fmt::format("source '{}' is not in the expression", name));
  }

  void choose_base() {
    const auto& names = plan_.source_names;
    for (size_t s = names.size(); s-- > 0;)
      if (!manifest(s).delta) first_model_ = s;
    plan_.base = first_model_.value_or(0);
    if (options_.base.empty()) return;
    const auto found = std::find(names.begin(), names.end(), options_.base);
    if (found == names.end())
      fail(ErrorCode::InvalidArgument, "base '{}' is no source of the expression{}", options_.base,
           did_you_mean(options_.base, names));
    plan_.base = static_cast<size_t>(found - names.begin());
    if (first_model_ && manifest(plan_.base).delta)
      fail(ErrorCode::InvalidArgument, "base {} is a task vector, not a model; --base {} would do", label(plan_.base),
           names[*first_model_]);
  }

  void check_patterns() const {
    for (const auto& pattern : draft_.reducer.patterns()) {
      const auto matches = [&](const TensorEntry& entry) { return pattern.matches(entry.name); };
      const bool any = std::any_of(plan_.sources.begin(), plan_.sources.end(), [&](const auto& source) {
        return std::any_of(source->manifest().tensors.begin(), source->manifest().tensors.end(), matches);
      });
      if (any) continue;
      const auto& tensors = manifest(plan_.base).tensors;
      fail(ErrorCode::InvalidArgument, "pattern \"{}\" matches no tensor of {}{}", pattern.pattern(), label(plan_.base),
           tensors.empty() ? "" : fmt::format("; names there look like '{}'", tensors.front().name));
    }
  }

  [[noreturn]] void fail_missing(const std::string& tensor, size_t has, size_t lacks) const {
    std::vector<std::string> names;
    for (const auto& entry : manifest(lacks).tensors) names.push_back(entry.name);
    fail(ErrorCode::InvalidArgument, "tensor '{}' is in {} but not in {}{}; --allow-missing copies it from where it is", tensor,
         label(has), label(lacks), did_you_mean(tensor, names));
  }

  /// A task vector changes what is there; it brings no tensors of its own.
  [[noreturn]] void fail_no_model(const std::string& tensor, size_t has) const {
    std::vector<std::string> names;
    for (const auto& entry : manifest(plan_.base).tensors) names.push_back(entry.name);
    if (const TensorEntry* embedding = tied_embedding(*plan_.sources[plan_.base], *manifest(has).find(tensor)))
      fail(ErrorCode::InvalidArgument,
           "task vector {} changes '{}', which {} ties to '{}' (tie_word_embeddings in config.json): it cannot change the one "
           "alone",
           label(has), tensor, label(plan_.base), embedding->name);
    fail(ErrorCode::InvalidArgument, "task vector {} changes tensor '{}', which no model of the expression has, {} neither{}",
         label(has), tensor, label(plan_.base), did_you_mean(tensor, names));
  }

  Key& key_of(const std::string& tensor_name) {
    std::string key = draft_.reducer.key(tensor_name);
    auto found = keys_.find(key);
    if (found == keys_.end()) found = keys_.emplace(key, Key{draft_.reducer.participants(key), std::nullopt}).first;
    return found->second;
  }

  void add(const std::string& name) {
    added_.insert(name);
    Key& key = key_of(name);
    // The donor is what the output looks like: the base where it takes part, else the first source that does, models first.
    std::optional<size_t> donor, lacking, task_vector;
    const auto consider = [&](size_t s) {
      const bool has = manifest(s).find(name) != nullptr;
      if (manifest(s).delta) {
        if (has) task_vector = task_vector.value_or(s);
      } else if (has) {
        donor = donor.value_or(s);
      } else {
        lacking = lacking.value_or(s);
      }
    };
    const bool any_term = std::find(key.participants.begin(), key.participants.end(), true) != key.participants.end();
    if (key.participants[plan_.base]) consider(plan_.base);
    for (size_t s = 0; s < plan_.sources.size(); ++s)
      if (key.participants[s] && s != plan_.base) consider(s);
    if (!donor && task_vector) {
      if (first_model_ && manifest(plan_.base).find(name) == nullptr) fail_no_model(name, *task_vector);
      donor = task_vector;
    }
    const size_t from = donor.value_or(plan_.base);  // a tensor that nobody has is not asked for: then the base has it
    const TensorEntry& model = *manifest(from).find(name);
    const bool constant = is_constant_buffer(model);
    if (lacking && !options_.allow_missing && !constant) fail_missing(name, from, *lacking);

    TensorPlan tensor{.name = name, .info = model.info, .shard = from == plan_.base ? model.file : 0, .terms = {}};
    const bool arithmetic = is_float(model.info.dtype);
    if (arithmetic && !any_term)
      fail(ErrorCode::InvalidArgument, "no term of the expression selects tensor '{}'; add a source without a pattern, e.g. {}",
           name, plan_.source_names[plan_.base]);
    for (size_t s = 0; s < plan_.sources.size(); ++s)
      if (const auto* entry = manifest(s).find(name); entry != nullptr && key.participants[s]) check_same(model, from, *entry, s);
    if (lacking && constant) {
      if (constants_++ == 0) first_constant_ = name;
    } else if (lacking) {
      if (copied_++ == 0) first_copied_ = name;
    }
    if (arithmetic && options_.dtype) tensor.info.dtype = *options_.dtype;
    if (arithmetic && !lacking) {
      if (!key.index) {
        key.index = draft_.keys.size();
        draft_.keys.push_back(draft_.reducer.key(name));
        draft_.first_named.push_back(plan_.tensors.size());
      }
      draft_.group.push_back(*key.index);
    } else {
      tensor.terms.push_back({from, 1.0});
      tensor.is_copy = tensor.info.dtype == model.info.dtype;
      draft_.group.push_back(Draft::kFixed);
    }
    plan_.tensors.push_back(std::move(tensor));
  }

  void check_same(const TensorEntry& a, size_t source_a, const TensorEntry& b, size_t source_b) const {
    const bool both_float = is_float(a.info.dtype) && is_float(b.info.dtype);
    if (!both_float && options_.allow_differing_integers && !is_float(a.info.dtype) && !is_float(b.info.dtype)) return;
    if (is_vocabulary(a.name) && both_float && a.info.shape.size() == b.info.shape.size() && a.info.shape.size() <= 2 &&
        !a.info.shape.empty() && a.info.shape[0] != b.info.shape[0] &&
        std::equal(a.info.shape.begin() + 1, a.info.shape.end(), b.info.shape.begin() + 1))
      fail(ErrorCode::InvalidArgument,
           "tensor '{}' has {} rows in {} and {} in {}: {} tokens were added or padded. --vocab common edits the rows that both "
           "have and "
           "drops the rest; --vocab base keeps the base's number of rows, --vocab pad the larger, with the rows of the one that "
           "has them; "
           "or leave the tensor out: (EXPR) @ !\"{}\" + {} @ \"{}\"",
           a.name, a.info.shape[0], label(source_a), b.info.shape[0], label(source_b),
           std::abs(a.info.shape[0] - b.info.shape[0]), a.name, plan_.source_names[plan_.base], a.name);
    if (a.info.shape != b.info.shape)
      fail(ErrorCode::InvalidArgument, "tensor '{}' has shape {} in {} and {} in {}", a.name, taskvec::to_string(a.info.shape),
           label(source_a), taskvec::to_string(b.info.shape), label(source_b));
    if (!both_float && a.info.dtype != b.info.dtype)
      fail(ErrorCode::InvalidArgument, "tensor '{}' is {} in {} and {} in {}", a.name, taskvec::name(a.info.dtype),
           label(source_a), taskvec::name(b.info.dtype), label(source_b));
  }

  /// Tensors that arithmetic does not apply to are copied; sources that differ in them are no edits of the same thing.
  void compare_integers() {
    if (options_.allow_differing_integers) return;
    std::vector<size_t> integers;
    for (size_t i = 0; i < plan_.tensors.size(); ++i)
      if (!is_float(plan_.tensors[i].info.dtype)) integers.push_back(i);
    // In a fixed order, so that of several the same one is named on any number of threads.
    std::vector<std::string> errors(integers.size());
    std::vector<std::vector<bool>> participants;
    for (const size_t i : integers) participants.push_back(key_of(plan_.tensors[i].name).participants);
    parallel_for(static_cast<int64_t>(integers.size()), [&](int64_t i) {
      const auto position = static_cast<size_t>(i);
      errors[position] = integer_difference(plan_.tensors[integers[position]], participants[position]);
    });
    for (const auto& error : errors)
      if (!error.empty()) throw Error(ErrorCode::InvalidArgument, error);
  }

  std::string integer_difference(const TensorPlan& tensor, const std::vector<bool>& participants) const {
    const size_t donor = tensor.terms[0].source;
    const auto expected = plan_.sources[donor]->tensor(tensor.name);
    for (size_t s = 0; s < plan_.sources.size(); ++s) {
      if (s == donor || !participants[s] || manifest(s).find(tensor.name) == nullptr) continue;
      if (!std::ranges::equal(expected.view.bytes, plan_.sources[s]->tensor(tensor.name).view.bytes))
        return fmt::format("{} tensor '{}' differs between {} and {}; --allow-differing-integers takes it from the base",
                           taskvec::name(tensor.info.dtype), tensor.name, label(donor), label(s));
    }
    return "";
  }

  const PlanOptions& options_;
  Draft draft_;
  Plan& plan_ = draft_.plan;
  std::optional<size_t> first_model_;  // none where every source is a task vector
  std::unordered_map<std::string, Key> keys_;
  std::unordered_set<std::string> added_;
  int64_t copied_ = 0, constants_ = 0;
  std::string first_copied_, first_constant_;
};

}  // namespace

Draft draft(const Expr& expr, const Bindings& bindings, const PlanOptions& options) {
  if (!expr.node().weights)
    fail(ErrorCode::InvalidArgument, "'{}' is a number; an edit needs at least one source", to_string(expr));
  if (options.dtype && !is_float(*options.dtype))
    fail(ErrorCode::InvalidArgument, "an edit cannot be written as {}; choose F64, F32, F16, BF16, F8_E4M3 or F8_E5M2",
         name(*options.dtype));
  const auto used = expr.coefficients();
  for (const auto& [name, value] : options.coefficients)
    if (std::find(used.begin(), used.end(), name) == used.end())
      fail(ErrorCode::InvalidArgument, "the expression has no coefficient ${}{}", name, did_you_mean(name, used));
  return Drafter(expr, bindings, options).make();
}

double model_share(const Plan& plan, const std::vector<double>& atoms) {
  double sum = 0;
  for (size_t s = 0; s < plan.sources.size(); ++s)
    if (!plan.sources[s]->manifest().delta) sum += atoms[s];
  return std::abs(sum) > 1e-9 ? sum : 0;
}

namespace {

/// Marks the calls that a sum uses. @param atoms  of the sum
void mark(const std::vector<double>& atoms, size_t sources, std::vector<bool>& calls) {
  for (size_t c = 0; c < calls.size(); ++c)
    if (atoms[sources + c] != 0) calls[c] = true;
}

/// What is in them, too: inner calls come first.
void mark_inner(const Form& form, size_t sources, std::vector<bool>& calls) {
  for (size_t c = calls.size(); c-- > 0;)
    for (size_t a = 0; calls[c] && a < form.calls[c].arguments.size(); ++a) mark(form.calls[c].arguments[a], sources, calls);
}

/// Methods combine task vectors: what is model in an argument cancels.
void check_arguments(const Draft& draft, const Form& form) {
  const auto& calls = draft.reducer.calls();
  std::vector<bool> used(calls.size());
  mark(form.atoms, draft.plan.sources.size(), used);
  mark_inner(form, draft.plan.sources.size(), used);
  for (size_t c = 0; c < calls.size(); ++c) {
    const std::string& method = calls[c].node().text;
    find_method(method)->check(form.calls[c].settings);
    for (size_t a = 0; used[c] && a < form.calls[c].arguments.size(); ++a)
      if (const double share = model_share(draft.plan, form.calls[c].arguments[a]); share != 0)
        fail(ErrorCode::InvalidArgument,
             "{} takes task vectors, but the coefficients of an argument of {} sum to {:.6g}; write differences, as in a - base",
             method, to_string(calls[c]), share);
  }
}

/// The calls that take part somewhere, of methods that look at the whole model.
std::vector<bool> whole_model_calls(const Draft& draft, const std::vector<Form>& forms) {
  const auto& calls = draft.reducer.calls();
  std::vector<bool> found(calls.size());
  for (const Form& form : forms) {
    std::vector<bool> used(calls.size());
    mark(form.atoms, draft.plan.sources.size(), used);
    mark_inner(form, draft.plan.sources.size(), used);
    for (size_t c = 0; c < calls.size(); ++c)
      if (used[c] && find_method(calls[c].node().text)->whole_model(form.calls[c].settings)) found[c] = true;
  }
  return found;
}

/// Whether a call's arguments can be made of a tensor: the sources have it alike.
bool is_there(const Plan& plan, const TensorPlan& tensor, const Reducer::CallForm& call) {
  for (const auto& argument : call.arguments) {
    if (model_share(plan, argument) != 0) return false;
    for (size_t s = 0; s < plan.sources.size(); ++s) {
      if (argument[s] == 0) continue;
      const TensorEntry* entry = plan.sources[s]->manifest().find(tensor.name);
      if (entry == nullptr ? !plan.sources[s]->manifest().delta
                           : entry->info.shape != tensor.info.shape || !is_float(entry->info.dtype))
        return false;
    }
  }
  return true;
}

/// The terms and calls of a tensor. @param looking  calls that look at tensors which they do not change, too
void set_calls(const Plan& plan, TensorPlan& tensor, const Form& form, const std::vector<bool>& looking) {
  const size_t sources = plan.sources.size();
  const auto terms_of = [&](const std::vector<double>& atoms) {
    std::vector<TensorPlan::Term> terms;
    for (size_t s = 0; s < atoms.size(); ++s)  // a task vector is zero where it has none
      if (atoms[s] != 0 && (s >= sources || plan.sources[s]->manifest().find(tensor.name) != nullptr))
        terms.push_back({s, atoms[s]});
    return terms;
  };
  tensor.terms = terms_of(form.atoms);
  std::vector<bool> used(form.calls.size());
  mark(form.atoms, sources, used);
  mark_inner(form, sources, used);
  std::vector<bool> seen = used;
  for (size_t c = 0; c < seen.size(); ++c) seen[c] = seen[c] || (looking[c] && is_there(plan, tensor, form.calls[c]));
  mark_inner(form, sources, seen);
  tensor.calls.clear();
  for (size_t c = 0; c < form.calls.size(); ++c) {
    if (!seen[c]) continue;
    TensorPlan::Call call{c, form.calls[c].settings, {}, used[c]};
    for (const auto& argument : form.calls[c].arguments) call.arguments.push_back(terms_of(argument));
    tensor.calls.push_back(std::move(call));
  }
}

}  // namespace

std::vector<Form> coefficients(const Draft& draft, const CoefficientValues& values) {
  std::vector<Form> out;
  for (const auto& key : draft.keys) {
    Form form{draft.reducer.coefficients(key, values), {}};
    for (size_t c = 0; c < draft.reducer.calls().size(); ++c) form.calls.push_back(draft.reducer.call(c, key, values));
    check_arguments(draft, form);
    out.push_back(std::move(form));
  }
  return out;
}

void set_terms(Draft& draft, const std::vector<Form>& forms) {
  Plan& plan = draft.plan;
  const std::vector<bool> looking = whole_model_calls(draft, forms);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (draft.group[i] == Draft::kFixed) continue;
    TensorPlan& tensor = plan.tensors[i];
    const Form& form = forms[draft.group[i]];
    set_calls(plan, tensor, form, looking);
    tensor.is_copy = tensor.terms.size() == 1 && tensor.terms[0].coefficient == 1.0 &&
                     tensor.terms[0].source < plan.sources.size() &&
                     plan.sources[tensor.terms[0].source]->manifest().find(tensor.name)->info.dtype == tensor.info.dtype;
    if (!tensor.is_copy)
      for (size_t s = 0; s < plan.sources.size(); ++s) formats::check_plain(*plan.sources[s], plan.source_names[s]);
  }
}

}  // namespace taskvec::edit
