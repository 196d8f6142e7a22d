#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

namespace taskvec {

/// JSON from a file that may hold anything: nothing that taskvec reads is nested deeper, and every level takes memory.
constexpr int kMaxJsonDepth = 16;

/// @return  a discarded value where the text is no JSON, or is nested more than kMaxJsonDepth levels deep
template <typename Json = nlohmann::json>
Json parse_bounded_json(std::string_view text) {
  bool too_deep = false;
  const auto bounded = [&](int depth, nlohmann::json::parse_event_t, Json&) {
    too_deep |= depth > kMaxJsonDepth;
    return !too_deep;
  };
  Json json = Json::parse(text, bounded, /*allow_exceptions=*/false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

}  // namespace taskvec
