#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/progress.h"
#include "taskvec/data/dataset.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

namespace taskvec::data {
namespace {

/// Decodes samples into one tensor; nullopt-like undefined tensor when `channels` is 1 and a sample has colours.
at::Tensor decode(const Dataset& dataset, const Preprocess& preprocess, std::span<const int64_t> indices, int64_t channels,
                  int64_t height, int64_t width, Progress* progress) {
  at::Tensor result = at::empty({static_cast<int64_t>(indices.size()), channels, height, width}, at::kByte);
  uint8_t* out = result.mutable_data_ptr<uint8_t>();
  const int64_t plane = height * width;
  std::atomic<bool> colours = false;
  const auto n = static_cast<int64_t>(indices.size());
  // A batch is shared by all cores; of a whole data set, the progress line is not told of every image.
  const int64_t length = std::clamp<int64_t>(n / (4 * thread_count()), 1, 64);
  parallel_for((n + length - 1) / length, [&](int64_t chunk) {
    const int64_t end = std::min(n, (chunk + 1) * length);
    for (int64_t i = chunk * length; i < end && !colours; ++i) {
      const Image image = preprocess.to_pixels(dataset.image(indices[static_cast<size_t>(i)]));
      if (image.height != height || image.width != width) {
        fail(ErrorCode::Format, "sample {} is {} x {} pixels, expected {} x {}: the preprocessor does not crop", i, image.width,
             image.height, width, height);
      }
      if (image.channels > channels) {
        colours = true;
        return;
      }
      uint8_t* sample = out + i * channels * plane;
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = image.channels == 1 ? 0 : c;
        for (int64_t p = 0; p < plane; ++p) sample[c * plane + p] = image.pixels[static_cast<size_t>(p * image.channels + from)];
      }
    }
    if (progress) progress->add(end - chunk * length);
  });
  return colours ? at::Tensor() : result;
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> dataset, Preprocess preprocess, int64_t budget)
    : dataset_(std::move(dataset)), preprocess_(preprocess) {
  const Image first = preprocess_.to_pixels(dataset_->image(0));
  std::vector<int64_t> all(static_cast<size_t>(size()));
  std::iota(all.begin(), all.end(), int64_t{0});
  for (int64_t channels = first.channels; channels <= 3; channels += 2) {
    if (size() > budget / (channels * first.height * first.width)) return;
    Progress progress("reading samples", size(), "images");
    cache_ = decode(*dataset_, preprocess_, all, channels, first.height, first.width, &progress);
    if (cache_.defined()) return;
  }
}

int64_t Loader::size() const { return dataset_->size(); }

at::Tensor Loader::pixels(std::span<const int64_t> indices) const {
  if (!cache_.defined()) {
    const Image first = preprocess_.to_pixels(dataset_->image(indices.front()));
    return decode(*dataset_, preprocess_, indices, 3, first.height, first.width, nullptr);
  }
  at::Tensor result =
      at::empty({static_cast<int64_t>(indices.size()), cache_.size(1), cache_.size(2), cache_.size(3)}, at::kByte);
  const auto bytes = static_cast<size_t>(cache_.stride(0));
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(result.mutable_data_ptr<uint8_t>() + i * bytes,
                cache_.const_data_ptr<uint8_t>() + static_cast<size_t>(indices[i]) * bytes, bytes);
  }
  return result;
}

at::Tensor Loader::images(std::span<const int64_t> indices, const at::Device& device) const {
  const at::Tensor eight_bit = pixels(indices);
  // Memory that the device reads by itself, while this thread goes on.
  if (device.is_cuda()) return preprocess_.normalise(eight_bit.pin_memory().to(device, /*non_blocking=*/true));
  return preprocess_.normalise(eight_bit);
}

at::Tensor Loader::labels(std::span<const int64_t> indices) const {
  at::Tensor result = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  int64_t* out = result.mutable_data_ptr<int64_t>();
  for (const int64_t index : indices) *out++ = dataset_->label(index);
  return result;
}

}  // namespace taskvec::data
