#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace taskvec {

/// Downloads that went wrong leave something else under a file's name: a Git LFS pointer, a page of HTML or XML, a server's error
/// as JSON or text. To be asked before any format's own message.
/// @param bytes  of the file
/// @throws Error{Format} saying which, and what to do; nothing of the contents is quoted
void check_download(const std::filesystem::path& file, std::span<const std::byte> bytes);
void check_download(const std::filesystem::path& file, std::string_view text);

}  // namespace taskvec
