#pragma once

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/writer.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/simd.h"
#include "tests/message_of.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace taskvec {

namespace fs = std::filesystem;

/// One tensor of a checkpoint that a test makes.
struct Made {
  std::string name;
  TensorInfo info;
  std::vector<std::byte> bytes;
};

/// A tensor of these values, rounded to `dtype`.
inline Made made(std::string name, Dtype dtype, Shape shape, const std::vector<double>& values) {
  Made tensor{std::move(name), {dtype, std::move(shape)}, {}};
  tensor.bytes.resize(static_cast<size_t>(tensor.info.nbytes()));
  kernels::convert(Dtype::F64, std::as_bytes(std::span(values)), dtype, tensor.bytes);
  return tensor;
}

/// A tensor of these bits.
template <typename Bits>
Made made_of_bits(std::string name, Dtype dtype, Shape shape, const std::vector<Bits>& bits) {
  Made tensor{std::move(name), {dtype, std::move(shape)}, {}};
  const auto bytes = std::as_bytes(std::span(bits));
  tensor.bytes.assign(bytes.begin(), bytes.end());
  return tensor;
}

inline std::vector<std::byte> bytes_of(const formats::Checkpoint& checkpoint, std::string_view name) {
  const auto tensor = checkpoint.tensor(name);
  return {tensor.view.bytes.begin(), tensor.view.bytes.end()};
}

inline std::vector<double> values_of(const formats::Checkpoint& checkpoint, std::string_view name) {
  const auto tensor = checkpoint.tensor(name);
  std::vector<double> values(static_cast<size_t>(tensor.view.info.numel()));
  kernels::convert(tensor.view.info.dtype, tensor.view.bytes, Dtype::F64, std::as_writable_bytes(std::span(values)));
  return values;
}

inline std::string file_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A temporary folder in which checkpoints are written from lists of tensors.
class CheckpointFolder {
 public:
  CheckpointFolder() {
    std::string pattern = (fs::temp_directory_path() / "taskvec_test.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~CheckpointFolder() { fs::remove_all(path_); }
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }

  std::shared_ptr<const formats::Checkpoint> write(const std::string& name, const std::vector<Made>& tensors,
                                                   std::map<std::string, std::string> metadata = {},
                                                   std::vector<fs::path> sidecars = {}) const {
    formats::OutputLayout layout;
    for (const auto& tensor : tensors) layout.tensors.push_back({tensor.name, tensor.info, 0});
    layout.metadata = std::move(metadata);
    layout.sidecars = std::move(sidecars);
    formats::CheckpointWriter writer(path_ / name, layout);
    for (size_t i = 0; i < tensors.size(); ++i) writer.write(i, 0, tensors[i].bytes);
    writer.commit();
    return formats::open(path_ / name);
  }

 private:
  fs::path path_;
};

class FolderTest : public testing::Test {
 protected:
  void TearDown() override {
    set_thread_count(0);
    kernels::set_simd_level("");
  }
  CheckpointFolder folder_;
};

}  // namespace taskvec
