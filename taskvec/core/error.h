#pragma once

#include <fmt/format.h>

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace taskvec {

/// What kind of thing went wrong; the command line turns it into an exit code.
enum class ErrorCode { InvalidArgument, Format, Io, NotFound, Unsupported, Numeric };

/// The only exception that taskvec throws on purpose.
/// Messages read: what is wrong: file, tensor, expected ..., got ...; a likely cause or the fix. They quote names from files,
/// which may hold anything: they are printable(), so that none ends the message or speaks to a terminal, and it has an end.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string message);
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error{code} with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// The candidate closest to `name` by edit distance, or "" when none is close enough to be a misspelling.
std::string nearest(std::string_view name, std::span<const std::string> candidates);

/// "; did you mean 'x'?" or "" — to be appended to a message about an unknown name.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

}  // namespace taskvec
