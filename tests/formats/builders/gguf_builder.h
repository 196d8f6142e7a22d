#pragma once

#include "tests/formats/raw.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace taskvec::formats::gguf_builder {

inline std::string text(const std::string& value) { return raw(uint64_t{value.size()}) + value; }

/// A small valid file, any part of which a test may break.
struct Builder {
  struct Tensor {
    std::string name = "w";
    std::vector<int64_t> dims{2, 1};
    uint32_t type = 0;
    uint64_t offset = 0;
  };
  uint32_t version = 3;
  std::vector<std::string> metadata{text("general.architecture") + raw(uint32_t{8}) + text("t")};
  std::vector<Tensor> tensors{{}};
  std::string data = std::string(8, '\0');
  std::optional<uint64_t> tensor_count{}, metadata_count{};

  std::string bytes() const {
    std::string out =
        "GGUF" + raw(version) + raw(tensor_count.value_or(tensors.size())) + raw(metadata_count.value_or(metadata.size()));
    for (const auto& entry : metadata) out += entry;
    for (const auto& tensor : tensors) {
      out += text(tensor.name) + raw(static_cast<uint32_t>(tensor.dims.size()));
      for (const int64_t dim : tensor.dims) out += raw(dim);
      out += raw(tensor.type) + raw(tensor.offset);
    }
    out.resize((out.size() + 31) / 32 * 32, '\0');
    return out + data;
  }
};

/// A metadata entry of a type that has a number.
inline std::string entry(const std::string& key, uint32_t type, const std::string& value) {
  return text(key) + raw(type) + value;
}

}  // namespace taskvec::formats::gguf_builder
