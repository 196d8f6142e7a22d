#pragma once

#include "taskvec/core/error.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace taskvec {

/// @param what  "write", "read", ...
/// @param error  of errno
/// @throws Error{Io}: what cannot be done with which file, why in the system's words, and what helps where that is known
[[noreturn]] inline void fail_io(const char* what, const std::filesystem::path& path, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT) hint = "; free some space or write elsewhere";
  if (error == EROFS || error == EACCES || error == EPERM) hint = "; choose a folder that you may write to";
  fail(ErrorCode::Io, "cannot {} {}: {}{}", what, path.string(), std::strerror(error), hint);
}

}  // namespace taskvec
