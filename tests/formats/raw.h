#pragma once

#include <string>

namespace taskvec::formats {

/// `value` as it lies in a file.
template <typename T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace taskvec::formats
