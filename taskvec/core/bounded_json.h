#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string_view>

namespace taskvec {

/// JSON from a file that may hold anything: nothing that taskvec reads is nested deeper, and every level takes memory.
constexpr int kMaxJsonDepth = 16;

/// Levels of nesting of a JSON text, which need not be valid.
inline int json_depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

/// @return  a discarded value where the text is no JSON, or is nested more than kMaxJsonDepth levels deep
template <typename Json = nlohmann::json>
Json parse_bounded_json(std::string_view text) {
  // Counted before: nlohmann's own callback can bound it, too, but takes quadratic time for a list of objects.
  if (json_depth(text) > kMaxJsonDepth) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace taskvec
