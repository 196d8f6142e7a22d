#pragma once

#include "tests/formats/raw.h"

#include <cstdint>
#include <string>

namespace taskvec::formats::llama2c_builder {

/// A model whose elements are 0, 1, 2, ...: dim 8, hidden 3, 2 layers, 2 heads (of 4), 1 key-value head, 5 tokens, 6 positions.
inline std::string tiny(bool shared = true) {
  std::string bytes;
  for (const int32_t number : {8, 3, 2, 2, 1, shared ? 5 : -5, 6}) bytes += raw(number);
  const int layer = 8 + 64 + 32 + 32 + 64 + 8 + 24 + 24 + 24;
  const int elements = 5 * 8 + 2 * layer + 8 + 2 * 6 * 2 + (shared ? 0 : 5 * 8);
  for (int i = 0; i < elements; ++i) bytes += raw(static_cast<float>(i));
  return bytes;
}

}  // namespace taskvec::formats::llama2c_builder
