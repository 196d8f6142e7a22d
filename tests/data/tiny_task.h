#pragma once

#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/random.h"
#include "taskvec/data/task.h"

#include <filesystem>
#include <string>

/// A task that is small enough to be made anew in every test, and easy enough to be learned in a few steps.
namespace taskvec::testing_data {

inline std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

/// Two classes: a bright bar in the left or in the right half, at a random height, over noise. 40 train and 20 test images; the
/// validation split is 4 of the train images.
inline data::Task write_tiny_task(const std::filesystem::path& folder, const std::string& name, uint64_t seed = 0) {
  const Philox random(seed, name);
  uint64_t draw = 0;
  const auto write = [&](const std::string& split, uint32_t n) {
    std::string images = big_endian(0x803) + big_endian(n) + big_endian(28) + big_endian(28),
                labels = big_endian(0x801) + big_endian(n);
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t label = i / 2 % 2;
      const uint64_t top = random.below(draw++, 20);
      for (uint64_t y = 0; y < 28; ++y)
        for (uint64_t x = 0; x < 28; ++x) {
          const bool bar = y >= top && y < top + 8 && (x < 14) == (label == 0);
          images += static_cast<char>((bar ? 200 : 0) + random.below(draw++, 50));
        }
      labels += static_cast<char>(label);
    }
    write_file_atomically(folder / (name + "-" + split + "-images"), images);
    write_file_atomically(folder / (name + "-" + split + "-labels"), labels);
  };
  write("train", 40);
  write("test", 20);
  write_file_atomically(folder / (name + ".yaml"), "source:\n  idx:\n    folder: .\n    train: [" + name + "-train-images, " +
                                                       name + "-train-labels]\n    test: [" + name + "-test-images, " + name +
                                                       "-test-labels]\nclasses: [left, right]\ntemplates: [\"{}\"]\n");
  return data::load_task((folder / (name + ".yaml")).string());
}

}  // namespace taskvec::testing_data
