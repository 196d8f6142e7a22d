#pragma once

#include "taskvec/core/error.h"

#include <cstdint>
#include <string_view>

namespace taskvec {

/// a * b for sizes that come from a file. @throws Error{Format} naming `what` on overflow or a negative operand.
inline int64_t checked_mul(int64_t a, int64_t b, std::string_view what) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &result)) fail(ErrorCode::Format, "{} overflows: {} * {}", what, a, b);
  return result;
}

/// a + b for sizes that come from a file. @throws Error{Format} naming `what` on overflow or a negative operand.
inline int64_t checked_add(int64_t a, int64_t b, std::string_view what) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &result)) fail(ErrorCode::Format, "{} overflows: {} + {}", what, a, b);
  return result;
}

}  // namespace taskvec
