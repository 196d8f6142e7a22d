#pragma once

#include "taskvec/core/random.h"

#include <filesystem>
#include <fstream>
#include <string>

namespace taskvec::testing_cli {

/// FOLDER/t.yaml: 64 pictures of noise in two classes, for runs whose answers do not matter.
inline void write_tiny_task(const std::filesystem::path& folder) {
  std::ofstream(folder / "t.yaml") << "source: {idx: {folder: ., train: [i, l], test: [i, l]}}\nclasses: [left, right]\n";
  std::ofstream images(folder / "i", std::ios::binary), labels(folder / "l", std::ios::binary);
  images << std::string("\0\0\x08\x03\0\0\0\x40\0\0\0\x1c\0\0\0\x1c", 16);
  labels << std::string("\0\0\x08\x01\0\0\0\x40", 8);
  const Philox random(1, 0);
  for (uint64_t i = 0; i < 64 * 784; ++i) images << static_cast<char>(random.below(i, 256));
  for (int i = 0; i < 64; ++i) labels << static_cast<char>(i % 2);
}

}  // namespace taskvec::testing_cli
