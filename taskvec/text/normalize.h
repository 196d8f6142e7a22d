#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace taskvec::text {

/// Code points of UTF-8 text; each malformed sequence becomes U+FFFD.
std::u32string decode_utf8(std::string_view text);
std::string encode_utf8(std::u32string_view text);

/// CLIP's normalisation: NFC, every run of white space one space, every character to lower case on its own (a final sigma is no
/// special case).
std::u32string normalize(std::u32string_view text);

/// CLIP's words: contractions ('s 't 're 've 'm 'll 'd), runs of letters, single digits, runs of everything else; white space
/// separates and is dropped. The text has been normalised.
std::vector<std::u32string_view> split_words(std::u32string_view text);

/// GPT-2's printable stand-ins for bytes: byte b is shown as character kByteLevel()[b], so that no token holds white space or
/// control characters.
const std::u32string& byte_level_alphabet();
/// UTF-8 of a word as one stand-in character for each byte.
std::u32string byte_level(std::u32string_view word);

bool is_space(char32_t c);  ///< Unicode's White_Space

}  // namespace taskvec::text
