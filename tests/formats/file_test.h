#pragma once

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/writer.h"
#include "tests/formats/raw.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

namespace taskvec::formats {

/// A test with a folder of its own, and files in it.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "formats_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& bytes, const std::string& name) const {
    write_file_atomically(folder_ / name, bytes);
    return folder_ / name;
  }

  /// A safetensors file and so on, by the writer: each tensor filled with 1, 2, 3, ... bytes.
  std::filesystem::path write(OutputLayout layout, const std::string& name) const {
    CheckpointWriter writer(folder_ / name, layout);
    for (size_t i = 0; i < layout.tensors.size(); ++i) {
      std::byte next{0};
      for (auto& byte : writer.tensor(i)) byte = next = static_cast<std::byte>(static_cast<int>(next) + 1);
    }
    writer.commit();
    return folder_ / name;
  }

  static std::string open_error(const std::filesystem::path& path) {
    return message_of([&] { open(path); });
  }

  /// All elements of a tensor.
  template <typename T>
  static std::vector<T> values(const Checkpoint& checkpoint, const std::string& name) {
    const auto tensor = checkpoint.tensor(name);
    std::vector<T> result(tensor.view.bytes.size() / sizeof(T));
    std::ranges::copy(tensor.view.bytes, std::as_writable_bytes(std::span(result)).begin());
    return result;
  }

  std::filesystem::path folder_;
};

}  // namespace taskvec::formats
