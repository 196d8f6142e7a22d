#pragma once

#include <array>
#include <charconv>
#include <string>

namespace taskvec::edit {

/// The shortest text that reads back as the same float64.
inline std::string number_text(double value) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

}  // namespace taskvec::edit
