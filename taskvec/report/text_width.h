#pragma once

#include <string>
#include <string_view>

namespace taskvec::report {

/// Valid UTF-8 on one line: broken sequences become U+FFFD, control characters spaces.
std::string clean(std::string_view text);

/// Code points of clean text, which is its width in a terminal (wide and combining characters aside).
int text_width(std::string_view clean_text);

/// The first `width` code points, the last of them an ellipsis where something was cut off.
std::string shorten(std::string_view clean_text, int width);

/// The first `count` code points.
std::string_view prefix(std::string_view clean_text, int count);

}  // namespace taskvec::report
