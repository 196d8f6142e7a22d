#pragma once

#include "tests/formats/raw.h"

#include <cstdint>
#include <string>

namespace taskvec::formats::npy_builder {

/// A .npy file.
inline std::string npy(const std::string& header, const std::string& data, char major = 1) {
  const auto length = header.size();
  return std::string("\x93NUMPY") + major + '\0' +
         (major == 1 ? raw(static_cast<uint16_t>(length)) : raw(static_cast<uint32_t>(length))) + header + data;
}

/// Its header.
inline std::string literal(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

}  // namespace taskvec::formats::npy_builder
