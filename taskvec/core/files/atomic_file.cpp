#include "taskvec/core/files/atomic_file.h"

#include "taskvec/core/error.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

namespace taskvec {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_io(const char* what, const fs::path& path, int error) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT) hint = "; free some space or write elsewhere";
  if (error == EROFS || error == EACCES || error == EPERM) hint = "; choose a folder that you may write to";
  fail(ErrorCode::Io, "cannot {} {}: {}{}", what, path.string(), std::strerror(error), hint);
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// `.NAME.taskvec-` in the target's folder: what a temporary for this target is called, before six random characters.
std::string temporary_prefix(const fs::path& target) { return "." + target.filename().string() + ".taskvec-"; }

/// Removes temporaries that a killed run left: those nobody holds a lock on.
void remove_leftovers(const fs::path& target) {
  const std::string prefix = temporary_prefix(target);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_of(target), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || name.size() != prefix.size() + 6) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), error);
    ::close(fd);
  }
}

/// Locks what has just been made, so that no other run takes it for a leftover.
/// @return false where one did, before the lock: it is gone then
bool lock_new(int fd) {
  struct stat status {};
  return ::flock(fd, LOCK_EX) == 0 && ::fstat(fd, &status) == 0 && status.st_nlink > 0;
}

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a rename without it is still atomic, only not yet durable
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

struct AtomicFile::State {
  fs::path target, temporary;
  int fd = -1;
  std::byte* data = nullptr;
  size_t size = 0;

  ~State() {
    if (data != nullptr) ::munmap(data, size);
    if (!temporary.empty()) ::unlink(temporary.c_str());
    if (fd >= 0) ::close(fd);
  }
};

AtomicFile::AtomicFile(const fs::path& path, uint64_t size) : state_(std::make_unique<State>()) {
  State& state = *state_;
  remove_leftovers(path);
  std::string name;
  do {
    if (state.fd >= 0) ::close(state.fd);
    name = (folder_of(path) / (temporary_prefix(path) + "XXXXXX")).string();
    state.fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (state.fd < 0) fail_io("write", path, errno);
  } while (!lock_new(state.fd));
  state.target = path;
  state.temporary = name;
  state.size = size;
  // mkostemp makes files for the owner alone; a checkpoint is an ordinary file.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(state.fd, 0666 & ~mask);
  if (size == 0) return;
  if (const int error = ::posix_fallocate(state.fd, 0, static_cast<off_t>(size)); error != 0) {
    if (error == ENOSPC)
      fail(ErrorCode::Io, "cannot write {}: no space left for {} bytes; free some space or write elsewhere", path.string(), size);
    fail_io("write", path, error);
  }
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, state.fd, 0);
  if (data == MAP_FAILED) fail_io("map", path, errno);
  state.data = static_cast<std::byte*>(data);
}

AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;

std::span<std::byte> AtomicFile::bytes() & { return {state_->data, state_->size}; }

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  if (offset > state_->size || data.size() > state_->size - offset)
    fail(ErrorCode::InvalidArgument, "{}: {} bytes at {} do not fit into {}", state_->target.string(), data.size(), offset,
         state_->size);
  // Several times cheaper than through the mapping, which takes a fault for every page.
  while (!data.empty()) {
    const ssize_t written = ::pwrite(state_->fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_io("write", state_->target, written < 0 ? errno : ENOSPC);
    offset += static_cast<uint64_t>(written);
    data = data.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::flush_hint(uint64_t offset, uint64_t size) {
  static const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page, end = (offset + size) / page * page;
  if (begin >= end) return;
  ::sync_file_range(state_->fd, static_cast<off_t>(begin), static_cast<off_t>(end - begin), SYNC_FILE_RANGE_WRITE);
  ::madvise(state_->data + begin, end - begin, MADV_DONTNEED);  // shared pages stay in the page cache
}

void AtomicFile::commit() {
  State& state = *state_;
  if (::fsync(state.fd) != 0) fail_io("write", state.target, errno);
  if (::rename(state.temporary.c_str(), state.target.c_str()) != 0) fail_io("replace", state.target, errno);
  state.temporary.clear();
  sync_folder(folder_of(state.target));
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  AtomicFile file(path, contents.size());
  file.write_at(0, std::as_bytes(std::span(contents)));
  file.commit();
}

AtomicFolder::AtomicFolder(const fs::path& target) : target_(target.has_filename() ? target : target.parent_path()) {
  std::error_code error;
  if (fs::exists(target_, error) && !fs::is_directory(target_, error))
    fail(ErrorCode::Io, "cannot write folder {}: a file of that name is there", target_.string());
  remove_leftovers(target_);
  std::string name;
  do {
    if (lock_fd_ >= 0) ::close(lock_fd_);
    name = (folder_of(target_) / (temporary_prefix(target_) + "XXXXXX")).string();
    if (::mkdtemp(name.data()) == nullptr) fail_io("write", target_, errno);
    lock_fd_ = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } while (lock_fd_ < 0 ? errno == ENOENT : !lock_new(lock_fd_));
  temporary_ = name;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(name.c_str(), 0777 & ~mask);
}

AtomicFolder::~AtomicFolder() {
  if (!committed_) {
    std::error_code error;
    fs::remove_all(temporary_, error);
  }
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void AtomicFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ::fsync(fd) != 0) {
      const int error = errno;
      if (fd >= 0) ::close(fd);
      fail_io("write", entry.path(), error);
    }
    ::close(fd);
  }
  sync_folder(temporary_);
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno != EEXIST) fail_io("replace", target_, errno);
    // One step from the old folder to the new one; the old one is then a leftover under the temporary name.
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0)
      fail_io("replace", target_, errno);
    std::error_code error;
    fs::remove_all(temporary_, error);
  }
  committed_ = true;
  sync_folder(folder_of(target_));
}

std::string read_file(const fs::path& path, uint64_t limit) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorCode::NotFound, "no such file: {}", path.string());
  if (!fs::is_regular_file(path, error)) fail(ErrorCode::Io, "{} is not a regular file", path.string());
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  if (!stream) fail_io("read", path, errno);
  const auto size = static_cast<uint64_t>(stream.tellg());
  if (size > limit)
    fail(ErrorCode::Format, "{} has {} bytes; at most {} are expected of such a file", path.string(), size, limit);
  std::string contents(size, '\0');
  stream.seekg(0);
  if (!stream.read(contents.data(), static_cast<std::streamsize>(size))) fail_io("read", path, errno);
  return contents;
}

}  // namespace taskvec
