#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace taskvec::formats {

/// The text of a STRING opcode's argument: a Python literal in quotes, with escapes. Nothing when it is none.
std::optional<std::string> unquote_pickle_string(std::string_view literal);

/// UTF-8 of a UNICODE opcode's argument: Python's raw-unicode-escape, i.e. Latin-1 with \uXXXX and \UXXXXXXXX.
std::optional<std::string> decode_raw_unicode_escape(std::string_view text);

}  // namespace taskvec::formats
