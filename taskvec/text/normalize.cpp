#include "taskvec/text/normalize.h"

#include "taskvec/core/error.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <array>

namespace taskvec::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool is_letter(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool is_number(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }
bool is_other(char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }

std::u32string to_nfc(std::u32string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  const auto source =
      icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()), static_cast<int32_t>(text.size()));
  const icu::UnicodeString composed = nfc->normalize(source, status);
  if (U_FAILURE(status)) fail(ErrorCode::Format, "text cannot be normalised: {}", u_errorName(status));
  std::u32string result(static_cast<size_t>(composed.countChar32()), U'\0');
  composed.toUTF32(reinterpret_cast<UChar32*>(result.data()), static_cast<int32_t>(result.size()), status);
  return result;
}

/// Length of the contraction that starts here, or 0.
size_t contraction(std::u32string_view text) {
  for (std::u32string_view suffix : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"}) {
    if (text.starts_with(suffix)) return suffix.size();
  }
  return 0;
}

/// Length of a special token's text that starts here, or 0. As ordinary text (it was written in capitals, say) CLIP's pattern
/// makes it a word, which GPT-2's pattern then cuts into brackets and letters.
size_t special_token(std::u32string_view text) {
  for (std::u32string_view token : {U"<|startoftext|>", U"<|endoftext|>"}) {
    if (text.starts_with(token)) return token.size();
  }
  return 0;
}

template <typename Predicate>
size_t run_length(std::u32string_view text, Predicate belongs) {
  size_t n = 0;
  while (n < text.size() && belongs(text[n])) ++n;
  return n;
}

}  // namespace

bool is_space(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE) != 0; }

std::u32string decode_utf8(std::string_view text) {
  if (text.size() > (size_t{1} << 28)) fail(ErrorCode::InvalidArgument, "text of {} bytes is too long to tokenize", text.size());
  std::u32string result;
  result.reserve(text.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, i, size, c);
    result += c < 0 ? kReplacement : static_cast<char32_t>(c);
  }
  return result;
}

std::string encode_utf8(std::u32string_view text) {
  std::string result;
  for (const char32_t c : text) {
    std::array<uint8_t, 4> bytes{};
    int32_t n = 0;
    U8_APPEND_UNSAFE(bytes.data(), n, static_cast<UChar32>(c));
    result.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(n));
  }
  return result;
}

std::u32string normalize(std::u32string_view text) {
  std::u32string result;
  bool in_space = false;
  for (const char32_t c : to_nfc(text)) {
    if (is_space(c)) {
      if (!in_space) result += U' ';
    } else if (c == 0x130) {  // the one character whose lower case is two on its own
      result += U"i\u0307";
    } else {
      result += static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
    }
    in_space = is_space(c);
  }
  return result;
}

std::vector<std::u32string_view> split_words(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  while (!text.empty()) {
    if (const size_t length = special_token(text)) {
      words.insert(words.end(), {text.substr(0, 2), text.substr(2, length - 4), text.substr(length - 2, 2)});
      text.remove_prefix(length);
      continue;
    }
    size_t n = contraction(text);
    if (n == 0 && is_letter(text[0])) n = run_length(text, is_letter);
    if (n == 0 && is_number(text[0])) n = 1;
    if (n == 0 && !is_space(text[0])) n = run_length(text, is_other);
    if (n == 0) {
      text.remove_prefix(1);
      continue;
    }
    words.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return words;
}

const std::u32string& byte_level_alphabet() {
  static const std::u32string alphabet = [] {
    std::u32string result(256, U'\0');
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      result[b] = printable ? b : next++;
    }
    return result;
  }();
  return alphabet;
}

std::u32string byte_level(std::u32string_view word) {
  std::u32string result;
  for (const char c : encode_utf8(word)) result += byte_level_alphabet()[static_cast<uint8_t>(c)];
  return result;
}

}  // namespace taskvec::text
