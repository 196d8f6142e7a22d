#include "taskvec/core/error.h"

#include "taskvec/core/printable.h"

#include <algorithm>
#include <vector>

namespace taskvec {
namespace {

/// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row[b.size()];
}

constexpr size_t kLongestMessage = size_t{1} << 14;

std::string message_of(std::string text) {
  if (text.size() > kLongestMessage) text.replace(kLongestMessage, std::string::npos, " ...");
  return printable(text);
}

}  // namespace

Error::Error(ErrorCode code, std::string message) : std::runtime_error(message_of(std::move(message))), code_(code) {}

std::string nearest(std::string_view name, std::span<const std::string> candidates) {
  // A misspelling changes two letters or a third of a word; names longer than this are not worth the quadratic time.
  constexpr size_t kLongest = 256;
  if (name.size() > kLongest) return "";
  size_t best = std::min(name.size(), std::max<size_t>(2, name.size() / 3) + 1);
  std::string result;
  for (const auto& candidate : candidates) {
    const size_t gap = std::max(candidate.size(), name.size()) - std::min(candidate.size(), name.size());
    if (candidate.size() > kLongest || gap >= best) continue;
    if (const size_t distance = edit_distance(name, candidate); distance < best) {
      best = distance;
      result = candidate;
    }
  }
  return result;
}

std::string did_you_mean(std::string_view name, std::span<const std::string> candidates) {
  const std::string found = nearest(name, candidates);
  return found.empty() ? "" : fmt::format("; did you mean '{}'?", found);
}

}  // namespace taskvec
