#pragma once

#include "taskvec/data/image.h"
#include "taskvec/data/preprocess.h"
#include "taskvec/data/task.h"

#include <ATen/ATen.h>

#include <memory>

namespace taskvec::data {

/// The samples of one split of a task: immutable, ordered, thread-safe.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual int64_t label(int64_t index) const = 0;  ///< in [0, classes)
  virtual Image image(int64_t index) const = 0;
  /// Changes when the samples do; for caches and records.
  virtual std::string fingerprint() const = 0;
};

/// Opens a split. The validation split of tasks with files for train and test is 10 % of train, at most 5,000 samples, the
/// indices that torch.utils.data.random_split takes with seed 0; train is the rest. Glyph tasks split by font family instead.
/// @param limit  at most so many samples: a class-independent, seeded choice that is the same on every machine; 0 for all
/// @throws Error{NotFound} saying how to get the data, Error{Format} naming the file; a class without images is an error that
/// names it.
std::shared_ptr<const Dataset> open_dataset(const Task& task, Split split, int64_t limit = 0);

/// Indices of the train and val parts of [0, n): equal to random_split(range(n), [n - val, val], generator seed 0).
struct TrainVal {
  std::vector<int64_t> train, val;
};
TrainVal random_split(int64_t n, int64_t val);
/// min(n / 10, 5000)
int64_t validation_size(int64_t n);

/// Preprocessed samples, ready for a network: decoded once (in parallel) and kept as 8-bit pixels while they fit in `budget`
/// bytes. Threads: const methods from one thread at a time.
class Loader {
 public:
  Loader(std::shared_ptr<const Dataset> dataset, Preprocess preprocess, int64_t budget = int64_t{1} << 30);
  int64_t size() const;
  /// @return [n, 1 or 3, h, w] uint8, not normalised (for augmentation before normalise())
  at::Tensor pixels(std::span<const int64_t> indices) const;
  /// @return [n, 3, h, w] float32 on `device`, normalised there: 8-bit pixels travel
  at::Tensor images(std::span<const int64_t> indices, const at::Device& device = at::kCPU) const;
  at::Tensor labels(std::span<const int64_t> indices) const;  ///< [n] int64
  const Dataset& dataset() const { return *dataset_; }
  const Preprocess& preprocess() const { return preprocess_; }

 private:
  std::shared_ptr<const Dataset> dataset_;
  Preprocess preprocess_;
  at::Tensor cache_;  ///< [size, c, h, w] uint8, undefined when over budget
};

/// The order in which epoch `epoch` visits n samples: a permutation that is a function of (seed, epoch) alone.
std::vector<int64_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch);

}  // namespace taskvec::data
