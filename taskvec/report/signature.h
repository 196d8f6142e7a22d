#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace taskvec::report {

/// What pictures say of who drew them, so that only such are ever replaced: an SVG in a comment on its second line, a PNG in its
/// first chunk after the header ("Software", as the PNG specification has it).
inline constexpr std::string_view kSvgSignature = "<!-- drawn by taskvec -->";
std::string png_signature();

/// Whether a file is a regular one that begins as pictures of taskvec do.
bool is_signed(const std::filesystem::path& picture);

}  // namespace taskvec::report
