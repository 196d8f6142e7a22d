#pragma once

#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/methods/method.h"
#include "taskvec/edit/sources/bindings.h"
#include "taskvec/edit/sources/tangent_space.h"
#include "taskvec/edit/sources/vocabulary.h"
#include "taskvec/formats/writer.h"

#include <optional>

namespace taskvec::edit {

/// What becomes of elements that are finite in float64 and too large for the output's dtype.
enum class OnOverflow {
  Report,   ///< they are infinite (nearest-even rounding makes them so) and counted per tensor
  Error,    ///< nothing is written
  Saturate  ///< they become the largest finite value of the dtype, and are counted
};

struct PlanOptions {
  CoefficientValues coefficients{};
  std::optional<Dtype> dtype{};  ///< of float tensors in the output; default: that of the first source
  std::string base{};  ///< source that non-float tensors, metadata and sidecars come from; default: the first that is a model
  bool allow_differing_integers = false;  ///< take non-float tensors from the base even where sources differ
  bool allow_missing = false;             ///< a tensor that only some sources have is copied from the first that has it
  Vocabulary vocabulary = Vocabulary::Same;
  Mode mode = Mode::Auto;  ///< what the result is meant as where sources were trained in a tangent space
  OnOverflow on_overflow = OnOverflow::Report;
  bool any_base = false;  ///< task vectors from files may be added to another model than the one they were made from
};

/// One output tensor: out = sum of coefficient * source tensor, and of coefficient * value of a call.
struct TensorPlan {
  std::string name;
  TensorInfo info;  ///< of the output
  int shard = 0;
  struct Term {
    size_t source;  ///< index into Plan::sources; behind them, into Plan::calls
    double coefficient;
    bool operator==(const Term&) const = default;
  };
  std::vector<Term> terms;  ///< sources in their order, then calls; one source with coefficient 1 and equal dtype is a byte copy
  bool is_copy = false;
  /// A call that takes part here: a method over sums of sources and of the calls before it.
  struct Call {
    size_t index;  ///< into Plan::calls
    Settings settings;
    std::vector<std::vector<Term>> arguments;
    bool used = true;  ///< in the result; else only looked at, by a method that looks at the whole model
    bool operator==(const Call&) const = default;
  };
  std::vector<Call> calls{};  ///< in the order of Plan::calls
};

/// A checked edit, ready to run: nothing that can be known from headers is left to fail.
struct Plan {
  std::string expression;  ///< canonical text
  PlanOptions options;     ///< as asked for
  std::vector<std::string> source_names;
  std::vector<std::shared_ptr<const formats::Checkpoint>> sources;
  size_t base = 0;          ///< index of the base in `sources`
  std::vector<Expr> calls;  ///< distinct ones, the inner ones first
  std::vector<TensorPlan> tensors;
  std::vector<std::string> warnings;
  bool unties = false;             ///< the base's output layer was the embedding and is no longer
  std::string tangent_origin;      ///< fingerprint of θ0 where the result is a point of its tangent space
  std::vector<std::string> notes;  ///< what was done to bring the sources together

  /// The sources that a tensor is made of: those of its terms, in their order, then those of its calls.
  /// @param looked_at  also of calls that are not used
  std::vector<size_t> sources_of(const TensorPlan& tensor, bool looked_at = false) const;
  int64_t bytes_read() const;  ///< in the pass that writes; methods may need more before it
  int64_t bytes_written() const;
};

/// Brings the sources under the base's names and shapes (sources/: prefixes of all names, output layers that are tied to the
/// embedding, constant buffers, the number of tokens), then makes every check: two architectures, unknown sources and
/// coefficients (nearest name), names, shapes and dtypes across sources, non-float tensors that differ, patterns that match
/// nothing, tensors left without a source, expressions that are no weights (warning when the models' coefficients of a tensor sum
/// to neither 0 nor 1). Tensors that a task vector (Manifest::delta) lacks are zero there; those that no model has are an error
/// as soon as a model takes part.
/// @throws Error naming file, tensor, expected and actual.
Plan plan(const Expr& expr, const Bindings& bindings, const PlanOptions& options = {});

/// What the stream executor is about to do, for people (`--dry-run`): at most 80 columns.
std::string describe(const Plan& plan);

}  // namespace taskvec::edit
