#pragma once

#include "taskvec/core/error.h"

#include <cstddef>
#include <string_view>

namespace taskvec::report {

/// @throws Error{InvalidArgument} unless 1 <= count <= most
inline void check_count(size_t count, size_t most, std::string_view picture, std::string_view what) {
  if (count >= 1 && count <= most) return;
  fail(ErrorCode::InvalidArgument, "{} of {} {}: it can show 1 to {}", picture, count, what, most);
}

/// @throws Error{InvalidArgument} unless the lengths are equal
inline void check_length(size_t actual, size_t expected, std::string_view picture, std::string_view what) {
  if (actual == expected) return;
  fail(ErrorCode::InvalidArgument, "{}: {}: expected {} values, got {}", picture, what, expected, actual);
}

}  // namespace taskvec::report
