#pragma once

#include "taskvec/data/dataset.h"
#include "taskvec/edit/execute.h"
#include "taskvec/models/clip.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>

namespace taskvec::eval {

/// An accuracy with its 95 % Wilson score interval.
struct Accuracy {
  int64_t correct = 0, n = 0;
  double value() const;
  double low() const;
  double high() const;
};

struct TaskResult {
  std::string task;
  data::Split split = data::Split::Test;
  Accuracy accuracy;
  std::vector<Accuracy> per_class;
  std::vector<int32_t> predictions;  ///< per sample
  double seconds = 0;

  /// {"accuracy": .., "ci95": [low, high], "n": .., "split": "test", "correct": .., "samples_per_second": ..}
  nlohmann::json to_json() const;
};

struct EvalOptions {
  data::Split split = data::Split::Test;
  int64_t batch = 256;
  int64_t limit = 0;  ///< at most so many samples a task; 0: all
};

/// Evaluates points of one weight space on tasks: data sets are decoded once and kept, heads are cached by the text tower's
/// bytes, so that evaluating the next point costs a pass of the image encoder and nothing else.
class Evaluator {
 public:
  /// @param model_folder  gives config, tokenizer and preprocessor
  Evaluator(const models::Clip& network, std::filesystem::path model_folder, EvalOptions options);
  ~Evaluator();
  TaskResult evaluate(const bridge::Params& params, const data::Task& task);
  TaskResult evaluate(const bridge::Params& params, const data::Task& task, data::Split split);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// An expression's result as parameters in memory: what Resident writes is what the network reads.
class EditedParams : public edit::ParamSink {
 public:
  explicit EditedParams(const edit::Plan& layout);
  std::span<std::byte> tensor(size_t index, const edit::TensorPlan& tensor) override;
  const bridge::Params& params() const { return params_; }

 private:
  bridge::Params params_;
  std::vector<at::Tensor> tensors_;
};

}  // namespace taskvec::eval
