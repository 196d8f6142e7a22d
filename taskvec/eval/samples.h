#pragma once

#include "taskvec/bridge/precision.h"
#include "taskvec/core/progress.h"
#include "taskvec/data/dataset.h"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>

namespace taskvec::eval {

struct EvalOptions {
  data::Split split = data::Split::Test;
  int64_t batch = 256;
  int64_t limit = 0;  ///< at most so many samples a task; 0: all
  bridge::Precision precision = bridge::Precision::Float32;
  bool progress = true;                             ///< a line on stderr for long evaluations
  std::function<void(int64_t images)> on_images{};  ///< called as images are done, of every pass; may be empty
};

/// The samples of tasks as a model sees them: decoded when they are first asked for, and kept. Threads: one at a time.
class Samples {
 public:
  /// @throws Error{InvalidArgument} for a batch below 1 or a negative limit
  Samples(data::Preprocess preprocess, EvalOptions options);

  const EvalOptions& options() const { return options_; }
  const data::Preprocess& preprocess() const { return preprocess_; }
  /// @throws Error as data::open_dataset()
  const data::Loader& loader(const data::Task& task, data::Split split);
  at::Tensor labels(const data::Task& task, data::Split split);  ///< [samples] int64

  /// Samples [begin, end): [end - begin, 3, h, w] in the precision's dtype.
  at::Tensor pixels(const data::Task& task, data::Split split, const at::Device& device, int64_t begin, int64_t end);
  /// Calls use(begin, pixels) for the batches of a split in their order. A GPU's next batch is made meanwhile.
  void for_each_batch(const data::Task& task, data::Split split, const at::Device& device,
                      const std::function<void(int64_t begin, const at::Tensor& pixels)>& use);
  /// Of a pass over a split, in images; nothing where none is asked for.
  std::unique_ptr<Progress> progress(const data::Task& task, data::Split split);

 private:
  data::Preprocess preprocess_;
  EvalOptions options_;
  std::map<std::string, data::Loader> loaders_;
};

}  // namespace taskvec::eval
