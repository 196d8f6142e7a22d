#include "taskvec/core/json_difference.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace taskvec {
namespace {

using nlohmann::json;

std::string told(const json& value) {
  constexpr size_t kLongest = 60;
  if (value.is_null()) return "its default";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

void compare(const json& before, const json& now, const std::string& path, std::vector<std::string>& found) {
  if (before == now) return;
  if (!before.is_object() || !now.is_object()) {
    found.push_back(fmt::format("{} {} instead of {}", path, told(before), told(now)));
    return;
  }
  json keys = before;
  keys.update(now);
  for (const auto& [key, ignored] : keys.items())
    compare(before.value(key, json()), now.value(key, json()), path.empty() ? key : path + "." + key, found);
}

}  // namespace

std::string json_difference(const json& before, const json& now, size_t most) {
  std::vector<std::string> found;
  compare(before, now, "", found);
  const size_t all = found.size();
  if (all > most) {
    found.resize(most);
    found.push_back(fmt::format("{} more", all - most));
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

}  // namespace taskvec
