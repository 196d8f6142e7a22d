#include "taskvec/core/glob.h"

#include "taskvec/core/error.h"

#include <vector>

namespace taskvec {
namespace {

constexpr size_t kMaxPattern = 4096;
constexpr size_t kMaxAlternatives = 1024;

/// The end of the bracket class that opens at `begin`, or npos. `]` right after the opening (or `!`) is a member.
size_t class_end(std::string_view pattern, size_t begin) {
  size_t i = begin + 1;
  if (i < pattern.size() && pattern[i] == '!') ++i;
  return pattern.find(']', i + 1);
}

/// Expands `{a,b}` into plain patterns.
void expand(const std::string& pattern, std::vector<std::string>& out) {
  const size_t open = pattern.find('{');
  if (open == std::string::npos) {
    if (out.size() >= kMaxAlternatives)
      fail(ErrorCode::InvalidArgument, "a pattern has more than {} alternatives", kMaxAlternatives);
    out.push_back(pattern);
    return;
  }
  int depth = 0;
  size_t start = open + 1;
  std::vector<std::string> parts;
  size_t i = open;
  for (; i < pattern.size(); ++i) {
    if (pattern[i] == '{') ++depth;
    if (pattern[i] == '}' && --depth == 0) break;
    if (pattern[i] == ',' && depth == 1) {
      parts.push_back(pattern.substr(start, i - start));
      start = i + 1;
    }
  }
  if (i == pattern.size()) fail(ErrorCode::InvalidArgument, "pattern '{}': '{{' is never closed", pattern);
  parts.push_back(pattern.substr(start, i - start));
  for (const auto& part : parts) expand(pattern.substr(0, open) + part + pattern.substr(i + 1), out);
}

bool class_matches(std::string_view members, char c) {
  const bool inverted = !members.empty() && members.front() == '!';
  if (inverted) members.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < members.size(); ++i) {
    if (i + 2 < members.size() && members[i + 1] == '-') {
      found = found || (members[i] <= c && c <= members[i + 2]);
      i += 2;
    } else {
      found = found || members[i] == c;
    }
  }
  return found != inverted;
}

/// Greedy matching with one point to come back to: linear in practice, quadratic at worst.
bool match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
      continue;
    }
    if (p < pattern.size()) {
      bool ok = pattern[p] == '?' || pattern[p] == text[t];
      size_t next = p + 1;
      if (pattern[p] == '[') {
        const size_t end = class_end(pattern, p);
        ok = class_matches(pattern.substr(p + 1, end - p - 1), text[t]);
        next = end + 1;
      }
      if (ok) {
        p = next;
        ++t;
        continue;
      }
    }
    if (star == std::string_view::npos) return false;
    p = star + 1;
    t = ++star_text;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

Glob::Glob(std::string_view pattern) : pattern_(pattern) {
  if (pattern.size() > kMaxPattern)
    fail(ErrorCode::InvalidArgument, "a pattern has {} characters; at most {}", pattern.size(), kMaxPattern);
  expand(pattern_, alternatives_);
  for (const auto& alternative : alternatives_) {
    for (size_t i = alternative.find('['); i != std::string::npos; i = alternative.find('[', i)) {
      i = class_end(alternative, i);
      if (i == std::string::npos) fail(ErrorCode::InvalidArgument, "pattern '{}': '[' is never closed", pattern_);
    }
  }
}

bool Glob::matches(std::string_view name) const {
  for (const auto& alternative : alternatives_)
    if (match(alternative, name)) return true;
  return false;
}

}  // namespace taskvec
