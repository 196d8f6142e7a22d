#include "taskvec/eval/samples.h"

#include "taskvec/core/error.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/data/ahead.h"

#include <numeric>

namespace taskvec::eval {

Samples::Samples(data::Preprocess preprocess, EvalOptions options)
    : preprocess_(std::move(preprocess)), options_(std::move(options)) {
  if (options_.batch < 1) fail(ErrorCode::InvalidArgument, "a batch of {} images; expected at least 1", options_.batch);
  if (options_.limit < 0) fail(ErrorCode::InvalidArgument, "a limit of {} samples; expected 0 (all) or more", options_.limit);
}

const data::Loader& Samples::loader(const data::Task& task, data::Split split) {
  const std::string key = data::task_key(task) + std::string(data::name(split));
  if (const auto found = loaders_.find(key); found != loaders_.end()) return found->second;
  return loaders_.try_emplace(key, data::open_dataset(task, split, options_.limit), preprocess_).first->second;
}

at::Tensor Samples::labels(const data::Task& task, data::Split split) {
  const data::Loader& samples = loader(task, split);
  std::vector<int64_t> all(static_cast<size_t>(samples.size()));
  std::iota(all.begin(), all.end(), 0);
  return samples.labels(all);
}

at::Tensor Samples::pixels(const data::Task& task, data::Split split, const at::Device& device, int64_t begin, int64_t end) {
  check_interrupt();
  std::vector<int64_t> indices(static_cast<size_t>(end - begin));
  std::iota(indices.begin(), indices.end(), begin);
  return loader(task, split).images(indices, device).to(bridge::compute_dtype(options_.precision));
}

void Samples::for_each_batch(const data::Task& task, data::Split split, const at::Device& device,
                             const std::function<void(int64_t, const at::Tensor&)>& use) {
  const int64_t n = loader(task, split).size();
  const auto shown = progress(task, split);
  const auto end_of = [&](int64_t begin) { return std::min(begin + options_.batch, n); };
  data::Ahead<at::Tensor> batches(0, (n + options_.batch - 1) / options_.batch, !device.is_cpu(), [&](int64_t i) {
    return pixels(task, split, device, i * options_.batch, end_of(i * options_.batch));
  });
  for (int64_t begin = 0; begin < n; begin += options_.batch) {
    const int64_t end = end_of(begin);
    use(begin, batches.next());
    if (shown) shown->add(end - begin);
    if (options_.on_images) options_.on_images(end - begin);
  }
}

std::unique_ptr<Progress> Samples::progress(const data::Task& task, data::Split split) {
  if (!options_.progress) return nullptr;
  return std::make_unique<Progress>(fmt::format("{} ({})", task.name, data::name(split)), loader(task, split).size(), "images");
}

}  // namespace taskvec::eval
