#pragma once

#include "taskvec/edit/draft.h"

namespace taskvec::edit {

/// Elements of one tensor that were too large for the output's dtype.
struct Overflow {
  std::string tensor;
  Dtype dtype;
  int64_t count;
};

/// NaN and infinite elements of one tensor.
struct NonFinite {
  std::string tensor;
  int64_t total;
  int64_t given;  ///< those of them that were not finite in a source, either
};

struct Summary {
  int64_t tensors = 0, bytes_read = 0, bytes_written = 0;
  double seconds = 0;
  int64_t non_finite = 0;                       ///< NaN and infinite elements of the output
  std::vector<NonFinite> non_finite_tensors{};  ///< that have such, in order
  std::vector<Overflow> overflows{};  ///< in the order of the tensors; clamped by a plan that saturates, else among non_finite
};

/// Stream executor: disk to disk in constant memory, tiles that stay in cache, every core. Writes the provenance into the
/// metadata (taskvec.expression, taskvec.sources with fingerprints, ...) and commits atomically.
/// @param output  a file or a folder
/// @param format  of the output; default: by its extension
/// @throws Error{Numeric} naming the tensor when an element overflows and the plan's on_overflow is Error, Error{InvalidArgument}
/// for a task vector of another base (delta_base.h): both before anything appears under `output`
Summary run(const Plan& plan, const std::filesystem::path& output, std::optional<formats::Output> format = {});

/// Where the resident executor puts a tensor.
class ParamSink {
 public:
  ParamSink();
  ParamSink(const ParamSink&);
  ParamSink& operator=(const ParamSink&) = delete;
  virtual ~ParamSink() = default;
  /// Tells sinks apart, also one that lies where another was.
  uint64_t id() const { return id_; }

  /// Where to write tensor `index` of the plan: info.nbytes() bytes. Called at most once per tensor and apply().
  virtual std::span<std::byte> tensor(size_t index, const TensorPlan& tensor) = 0;

 private:
  uint64_t id_;
};

/// Resident executor: the same numbers as run(), into memory, again and again with new coefficients. Sources are mapped (and
/// stay in the page cache); the work of an apply() is one pass over them. Tensors whose reduced coefficients did not change since
/// the last apply() into the same sink are not written again. Of the overflow policies only Saturate matters here. Where a task
/// vector from a file takes part, construction reads the models once to see that its base is among them (delta_base.h).
class Resident {
 public:
  Resident(Expr expr, Bindings bindings, PlanOptions options = {});
  ~Resident();
  /// Names, shapes and dtypes of the output; the terms are those of the last apply().
  const Plan& layout() const;
  /// The named coefficients that the options gave no value, in order of first appearance: what apply() takes.
  const std::vector<std::string>& coefficients() const;
  void apply(std::span<const double> values, ParamSink& sink);
  /// The plan with its terms at these coefficients, for an executor elsewhere. Lifetime: until the next call of either.
  const Plan& at(std::span<const double> values);

 private:
  /// Sets the terms. @return what each group of tensors is made of
  std::vector<Form> set(std::span<const double> values);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace taskvec::edit
