#include "taskvec/core/printable.h"

#include <fmt/format.h>

namespace taskvec {
namespace {

struct Decoded {
  char32_t character = 0;
  size_t bytes = 0;  ///< 0: no UTF-8 begins here
};

/// The character that begins at `text[at]` (RFC 3629: no overlong forms, no surrogates).
Decoded decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> unsigned { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0; };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t bytes = first >= 0xF5 ? 0 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (bytes == 0) return {};
  char32_t character = first & (0x7FU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    character = character << 6U | (byte(i) & 0x3FU);
  }
  const bool overlong = (bytes == 3 && character < 0x800) || (bytes == 4 && character < 0x10000);
  const bool surrogate = character >= 0xD800 && character < 0xE000;
  return overlong || surrogate || character > 0x10FFFF ? Decoded{} : Decoded{character, bytes};
}

bool is_harmful(char32_t c) {
  if (c < 0x20) return c != '\n' && c != '\t';
  return (c >= 0x7F && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

template <class Replace>
std::string replace_harmful(std::string_view text, const Replace& replacement) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Decoded found = decode(text, at);
    if (found.bytes == 0 || is_harmful(found.character)) {
      out += replacement(found);
    } else {
      out += text.substr(at, found.bytes);
    }
    at += found.bytes == 0 ? 1 : found.bytes;
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  return replace_harmful(text, [](const Decoded&) { return "?"; });
}

std::string printable_message(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (!out.empty() && out.back() == '\n' && c != ' ') out += "  ";
    out += c;
  }
  return out;
}

std::string printable_json(std::string_view json) {
  return replace_harmful(json, [](const Decoded& found) {
    return fmt::format("\\u{:04x}", found.bytes == 0 ? 0xFFFDU : static_cast<unsigned>(found.character));
  });
}

}  // namespace taskvec
