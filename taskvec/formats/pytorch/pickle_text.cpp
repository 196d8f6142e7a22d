#include "taskvec/formats/pytorch/pickle_text.h"

#include <charconv>
#include <cstdint>

namespace taskvec::formats {
namespace {

/// `digits` digits of `text` from `at` on.
std::optional<uint32_t> number(std::string_view text, size_t at, size_t digits, int base) {
  uint32_t value = 0;
  if (at > text.size() || digits > text.size() - at) return std::nullopt;
  const char* const begin = text.data() + at;
  const auto [end, error] = std::from_chars(begin, begin + digits, value, base);
  if (error != std::errc{} || end != begin + digits) return std::nullopt;
  return value;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto byte = [&](uint32_t value) { out += static_cast<char>(static_cast<unsigned char>(value)); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xC0 | code >> 6);
    byte(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    byte(0xE0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3F));
    byte(0x80 | (code & 0x3F));
  } else {
    byte(0xF0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3F));
    byte(0x80 | (code >> 6 & 0x3F));
    byte(0x80 | (code & 0x3F));
  }
}

}  // namespace

std::optional<std::string> unquote_pickle_string(std::string_view literal) {
  if (literal.size() < 2 || (literal.front() != '\'' && literal.front() != '"') || literal.back() != literal.front())
    return std::nullopt;
  literal = literal.substr(1, literal.size() - 2);
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\') {
      out += literal[i];
      continue;
    }
    if (++i == literal.size()) return std::nullopt;
    static constexpr std::string_view kEscapes = "\\'\"nrtabfv", kMeanings = "\\'\"\n\r\t\a\b\f\v";
    if (const size_t escape = kEscapes.find(literal[i]); escape != kEscapes.npos) {
      out += kMeanings[escape];
    } else if (const bool hex = literal[i] == 'x'; hex || (literal[i] >= '0' && literal[i] <= '3')) {
      const auto value = hex ? number(literal, i + 1, 2, 16) : number(literal, i, 3, 8);
      if (!value) return std::nullopt;
      out += static_cast<char>(static_cast<unsigned char>(*value));
      i += 2;
    } else {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<std::string> decode_raw_unicode_escape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
    if (next != 'u' && next != 'U') {
      append_utf8(out, static_cast<unsigned char>(text[i]));
      continue;
    }
    const size_t digits = next == 'u' ? 4 : 8;
    const auto code = number(text, i + 2, digits, 16);
    if (!code || *code > 0x10FFFF) return std::nullopt;
    append_utf8(out, *code);
    i += 1 + digits;
  }
  return out;
}

}  // namespace taskvec::formats
