#include "taskvec/core/files/line_file.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/fail_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace taskvec {
namespace {

constexpr off_t kMaxBytes = off_t{1} << 30;

}  // namespace

LineFile::LineFile(std::filesystem::path path,
                   const std::function<bool(std::string_view whole, std::string_view half)>& half_of_ours)
    : path_(std::move(path)) {
  const auto fail_here = [&](ErrorCode code, const std::string& why) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    fail(code, "{}: {}", path_.string(), why);
  };
  // O_NONBLOCK: a pipe of that name must not be waited for.
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd_ < 0 && errno == ELOOP) fail_here(ErrorCode::Io, "it is a symbolic link; give another folder, or remove the link");
  if (fd_ < 0)
    fail_here(ErrorCode::Io,
              fmt::format("cannot be opened for writing: {}; is its folder there and writable?", std::strerror(errno)));
  struct stat status {};
  if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) fail_here(ErrorCode::Io, "it is not a regular file");
  if (status.st_size > kMaxBytes) fail_here(ErrorCode::Format, fmt::format("it has {} bytes; no log is as long", status.st_size));
  text_.resize(static_cast<size_t>(status.st_size));
  for (size_t at = 0; at < text_.size();) {
    const ssize_t got = ::pread(fd_, text_.data() + at, text_.size() - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_here(ErrorCode::Io, "cannot be read");
    at += static_cast<size_t>(got);
  }
  const size_t newline = text_.rfind('\n'), whole = newline == std::string::npos ? 0 : newline + 1;
  if (whole == text_.size()) return;
  const std::string half = text_.substr(whole);
  text_.resize(whole);
  bool ours = false;
  try {
    ours = half_of_ours(text_, half);
  } catch (...) {
    ::close(fd_);
    throw;
  }
  if (!ours)
    fail_here(ErrorCode::Format,
              "it ends without a line end, and not as taskvec writes; it is left as it is: give another folder");
  if (::ftruncate(fd_, static_cast<off_t>(whole)) != 0) fail_here(ErrorCode::Io, "cannot be written");
}

LineFile::~LineFile() {
  if (fd_ >= 0) ::close(fd_);
}

void LineFile::append(std::string_view line) {
  std::string all(line);
  all += '\n';
  for (std::string_view left = all; !left.empty();) {
    const ssize_t written = ::write(fd_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_io("write", path_, written < 0 ? errno : ENOSPC);
    left.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace taskvec
