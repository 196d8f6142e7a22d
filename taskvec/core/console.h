#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace taskvec {

/// The two streams of a program. Results go to stdout, which must not lose them; everything else goes to stderr, where a stream
/// that is closed or full changes nothing. Whatever strangers wrote is shown as printable() has it.

/// Before anything else in main(): a standard stream that is closed is taken by /dev/null, so that no file that is opened later
/// becomes it, and a broken pipe or a file-size limit is an error of the call that meets it and ends no process.
void open_console();

/// No notes and no progress. Warnings and errors stay.
void set_quiet(bool quiet);
bool is_quiet();

/// Columns that stdout has: the terminal's, or very many where it is none.
int output_width();

/// To stdout as it is. @throws Error{Io} when that can't be written
void write_output(std::string_view text);
/// What is still buffered. @throws Error{Io} when anything that was written to stdout did not arrive
void flush_output();
/// To stderr as it is. Never fails.
void write_message(std::string_view text);

/// A result, on stdout. @throws Error{Io}
template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args);
/// What people want to know besides, on stderr; nothing when quiet.
template <typename... Args>
void note(fmt::format_string<Args...> format, Args&&... args);
/// "warning: ...", on stderr.
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args);

namespace detail {
void print_text(const std::string& text);
void note_text(const std::string& text);
void warn_text(const std::string& text);
}  // namespace detail

template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  detail::print_text(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {
  if (!is_quiet()) detail::note_text(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  detail::warn_text(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace taskvec
