#pragma once

#include <string>
#include <string_view>

namespace taskvec {

/// Text that may hold what strangers wrote (names in files, metadata), as it may be shown: control characters other than newline
/// and tab (C0, DEL, C1), characters that turn the direction of writing (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to
/// U+2069), line and paragraph separators and bytes that are no UTF-8 become '?'.
std::string printable(std::string_view text);

/// The same for a message: its further lines are indented, so that a newline in a name begins none that looks like another
/// message.
std::string printable_message(std::string_view text);

/// The same for JSON, in whose strings all of these can be written as \uXXXX: what a program reads stays what it was.
/// @param json  JSON in UTF-8
std::string printable_json(std::string_view json);

}  // namespace taskvec
