#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace taskvec::fuzz {

/// An input of several parts: texts, each up to a NUL, and what is left.
class Fields {
 public:
  Fields(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  std::string_view next(char end = '\0') {
    const std::string_view field = rest_.substr(0, rest_.find(end));
    rest_.remove_prefix(field.size() < rest_.size() ? field.size() + 1 : field.size());
    return field;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace taskvec::fuzz
