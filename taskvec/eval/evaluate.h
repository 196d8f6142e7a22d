#pragma once

#include "taskvec/eval/accuracy.h"
#include "taskvec/eval/samples.h"
#include "taskvec/eval/sweep_cache.h"
#include "taskvec/models/clip.h"
#include "taskvec/tangent/affine.h"

#include <nlohmann/json_fwd.hpp>

namespace taskvec::eval {

struct TaskResult {
  std::string task;
  data::Split split = data::Split::Test;
  Accuracy accuracy;
  std::vector<Accuracy> per_class;
  std::vector<int32_t> labels, predictions;  ///< per sample
  double seconds = 0;                        ///< of the pass over the samples; decoding and heads are not in it

  double samples_per_second() const;
  /// {"accuracy": .., "ci95": [low, high], "n": .., "split": "test", "correct": .., "samples_per_second": ..}
  nlohmann::json to_json() const;
};

/// Evaluates points of one weight space on tasks: data sets are decoded once and kept, heads are cached by the text tower's
/// bytes, so that evaluating the next point costs a pass of the image encoder and nothing else. Runs on the device that the
/// parameters are on, in the precision of the options; heads and features are float32. Threads: one at a time.
class Evaluator {
 public:
  /// @param network       Lifetime: as long as this
  /// @param model_folder  gives tokenizer and preprocessor
  /// @throws Error{InvalidArgument} for a batch below 1 or a negative limit
  Evaluator(const models::Clip& network, std::filesystem::path model_folder, EvalOptions options);
  ~Evaluator();

  /// @throws Error{Numeric} naming task, sample and tensor when the features are not finite; Error as the loaders do
  TaskResult evaluate(const bridge::Params& params, const data::Task& task);
  TaskResult evaluate(const bridge::Params& params, const data::Task& task, data::Split split);

  /// From here on a point is evaluated as the network's linearisation f_lin(x; point) around `origin`, θ0.
  void linearise(bridge::Params origin);
  bool linear() const;
  std::string origin_fingerprint() const;  ///< of θ0; empty where points are the network itself

  /// Keeps what affine_outputs() computes, and uses what is there.
  void keep_sweeps(SweepCache cache);
  /// What f_lin says of a split's samples, as a function of coefficients: at `point` plus Σ c_k directions_k, from one pass over
  /// the data with a tangent per direction, or from blocks of the cache. @throws Error{InvalidArgument} where this evaluates the
  /// network itself
  tangent::AffineOutputs affine_outputs(const bridge::Params& point, std::span<const bridge::Params> directions,
                                        const data::Task& task, data::Split split);
  /// Image features of a split's samples, [samples, dim], not L2-normalised.
  at::Tensor features(const bridge::Params& params, const data::Task& task, data::Split split);
  /// The zero-shot head, [dim, classes]: train::zero_shot_head(), kept. @param params  the text encoder's
  at::Tensor head(const bridge::Params& params, const data::Task& task);
  at::Tensor labels(const data::Task& task, data::Split split);  ///< [samples] int64
  /// The answers to these image features [samples, dim], in the order of the split. @param params  the text encoder's
  TaskResult score(const at::Tensor& features, const bridge::Params& params, const data::Task& task, data::Split split);

  /// Images that went through the image encoder so far, and through its tangents: an image with K directions counts 1 + K times.
  int64_t images_forwarded() const;

  int64_t images(const data::Task& task, data::Split split);  ///< in a pass over the split
  /// What answers depend on, point, device and task aside: train::folder_identity(), "origin", "precision", "batch", "limit" and
  /// "torch". With train::task_identity() everything that remembers answers takes its key from here.
  nlohmann::json identity() const;
  nlohmann::json identity(const data::Task& task, data::Split split);  ///< train::task_identity()
  const EvalOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace taskvec::eval
