#include "taskvec/core/files/spool_file.h"

#include "taskvec/core/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace taskvec {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_spool(const char* what, const fs::path& target, int error) {
  fail(ErrorCode::Io, "cannot {} the temporary file beside {}: {}{}", what, target.string(), std::strerror(error),
       error == ENOSPC || error == EDQUOT || error == EFBIG ? "; free some space or write elsewhere" : "");
}

}  // namespace

SpoolFile::SpoolFile(const fs::path& target) : target_(target) {
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  fd_ = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ >= 0) return;
  // Not every file system has nameless files. The name is that of a leftover, should a kill come before the unlink.
  std::string name = (folder / ("." + target.filename().string() + ".taskvec-XXXXXX")).string();
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) fail_spool("make", target, errno);
  ::unlink(name.c_str());
}

SpoolFile::~SpoolFile() {
  if (fd_ >= 0) ::close(fd_);
}

void SpoolFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_spool("write", target_, written < 0 ? errno : ENOSPC);
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void SpoolFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_spool("read", target_, got < 0 ? errno : EIO);
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

}  // namespace taskvec
