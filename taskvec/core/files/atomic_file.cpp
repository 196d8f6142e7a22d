#include "taskvec/core/files/atomic_file.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/fail_io.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

namespace taskvec {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// `.NAME.taskvec-` in the target's folder: what a temporary for this target is called, before six random characters.
std::string temporary_prefix(const fs::path& target) { return "." + target.filename().string() + ".taskvec-"; }

/// In every temporary folder until it gets its name: what tells ours from a folder of the user's that is called alike.
constexpr const char* kMarker = ".taskvec-temporary";

fs::path marker_of(const fs::path& temporary) { return temporary / kMarker; }

void mark(const fs::path& temporary) {
  const int fd = ::open(marker_of(temporary).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) fail_io("write", marker_of(temporary), errno);
  ::close(fd);
}

/// Removes the files of a folder that holds nothing else, then the folder.
/// @return false where something else lies in it, which then is untouched
bool remove_flat_folder(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.symlink_status(error).type() != fs::file_type::regular) return false;
    files.push_back(entry.path());
  }
  const fs::path marker = marker_of(folder);
  for (const auto& file : files)
    if (file != marker) ::unlink(file.c_str());
  ::unlink(marker.c_str());  // last: what is killed in between is still known as ours
  return ::rmdir(folder.c_str()) == 0;
}

/// Removes temporary folders that a killed run left and nobody holds a lock on: those with our marker, and empty ones.
void remove_leftovers(const fs::path& target) {
  const std::string prefix = temporary_prefix(target);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_of(target), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || name.size() != prefix.size() + 6) continue;
    // O_DIRECTORY: a pipe of that name must not be waited for.
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      if (fs::is_regular_file(fs::symlink_status(marker_of(entry.path()), error)))
        remove_flat_folder(entry.path());
      else
        ::rmdir(entry.path().c_str());  // killed before its marker: nothing is in it, or it stays
    }
    ::close(fd);
  }
}

mode_t umask_now() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return mask;
}

/// What lies under an output's name: nothing, or a regular file whose mode the new one takes.
/// @throws Error{Io} for anything else
std::optional<mode_t> mode_of_replaced(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::nullopt;
    fail_io("write", path, errno);
  }
  if (S_ISLNK(status.st_mode))
    fail(ErrorCode::Io, "cannot write {}: it is a symbolic link; give the file that it leads to, or another name", path.string());
  if (S_ISDIR(status.st_mode)) fail(ErrorCode::Io, "cannot write {}: a folder of that name is there", path.string());
  if (!S_ISREG(status.st_mode))
    fail(ErrorCode::Io, "cannot write {}: it is not a regular file; choose another name", path.string());
  return status.st_mode & 07777;
}

void check_folder_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(folder_of(path), error))
    fail(ErrorCode::Io, "cannot write {}: there is no folder {}; make it first (mkdir -p)", path.string(),
         folder_of(path).string());
}

/// Locks what has just been made, so that no other run takes it for a leftover.
/// @return false where one did, before the lock: it is gone then
bool lock_new(int fd) {
  struct stat status {};
  return ::flock(fd, LOCK_EX) == 0 && ::fstat(fd, &status) == 0 && status.st_nlink > 0;
}

struct TemporaryFolder {
  fs::path path;
  int lock = -1;
};

/// A marked folder beside the target, locked until the descriptor is closed; leftovers of its kind are removed first.
TemporaryFolder make_temporary_folder(const fs::path& target) {
  remove_leftovers(target);
  TemporaryFolder made;
  std::string name;
  do {
    if (made.lock >= 0) ::close(made.lock);
    name = (folder_of(target) / (temporary_prefix(target) + "XXXXXX")).string();
    if (::mkdtemp(name.data()) == nullptr) fail_io("write", target, errno);
    made.lock = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } while (made.lock < 0 ? errno == ENOENT : !lock_new(made.lock));
  made.path = name;
  mark(made.path);
  return made;
}

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a rename without it is still atomic, only not yet durable
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

struct AtomicFile::State {
  fs::path target;
  TemporaryFolder temporary;       // where the file has a name before it gets the target's; none while it has no name
  std::optional<mode_t> replaced;  // mode of the file that was there at the start
  bool replace = false;
  int fd = -1;
  std::byte* data = nullptr;
  size_t size = 0;

  bool is_nameless() const { return temporary.path.empty(); }
  fs::path name() const { return temporary.path / target.filename(); }

  void drop_temporary() {
    if (!is_nameless()) remove_flat_folder(temporary.path);
    if (temporary.lock >= 0) ::close(temporary.lock);
    temporary = {};
  }

  ~State() {
    if (data != nullptr) ::munmap(data, size);
    drop_temporary();
    if (fd >= 0) ::close(fd);
  }
};

AtomicFile::AtomicFile(const fs::path& path, uint64_t size, bool replace) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.target = path;
  state.size = size;
  check_folder_of(path);
  state.replaced = mode_of_replaced(path);
  state.replace = replace || state.replaced;
  // Nobody else can open it before it is complete: a checkpoint's mode comes at the end.
  state.fd = ::open(folder_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (state.fd < 0) {
    if (errno != EOPNOTSUPP && errno != EISDIR) fail_io("write", path, errno);
    state.temporary = make_temporary_folder(path);
    state.fd = ::open(state.name().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (state.fd < 0) fail_io("write", path, errno);
  }
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

namespace {

/// Gives a nameless file a name, if nothing has it. @return false: the name is taken
bool link_nameless(int fd, const fs::path& path) {
  if (::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0)
    return true;
  if (errno != EEXIST) fail_io("write", path, errno);
  return false;
}

[[noreturn]] void fail_appeared(const fs::path& target) {
  fail(ErrorCode::Io, "cannot write {}: something of that name appeared while this was running; nothing was replaced",
       target.string());
}

}  // namespace

void AtomicFile::commit() {
  State& state = *state_;
  ::fchmod(state.fd, state.replaced.value_or(0666 & ~umask_now()));
  if (::fsync(state.fd) != 0) fail_io("write", state.target, errno);
  const auto replace = [&] {
    if (::rename(state.name().c_str(), state.target.c_str()) != 0) fail_io("replace", state.target, errno);
  };
  if (state.replace) mode_of_replaced(state.target);  // it may be something else by now
  if (state.is_nameless()) {
    if (!link_nameless(state.fd, state.target)) {
      if (!state.replace) fail_appeared(state.target);
      // Only what has a name can replace another: it gets one where a run that is killed in between is cleaned up after.
      state.temporary = make_temporary_folder(state.target);
      link_nameless(state.fd, state.name());
      replace();
    }
  } else if (state.replace) {
    replace();
  } else if (::renameat2(AT_FDCWD, state.name().c_str(), AT_FDCWD, state.target.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) fail_appeared(state.target);
    fail_io("write", state.target, errno);
  }
  state.drop_temporary();
  sync_folder(folder_of(state.target));
}

void copy_file(const fs::path& from, const fs::path& to) {
  const int fd = ::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    const int error = fd < 0 ? errno : EINVAL;
    if (fd >= 0) ::close(fd);
    fail_io("read", from, error);
  }
  try {
    AtomicFile file(to, static_cast<uint64_t>(status.st_size));
    std::vector<std::byte> buffer(size_t{1} << 20);
    for (uint64_t at = 0; at < static_cast<uint64_t>(status.st_size);) {
      const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail_io("read", from, got < 0 ? errno : EIO);
      const auto n = std::min(static_cast<uint64_t>(got), static_cast<uint64_t>(status.st_size) - at);
      file.write_at(at, std::span(buffer).first(n));
      at += n;
    }
    file.commit();
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  AtomicFile file(path, contents.size(), /*replace=*/true);
  file.write_at(0, std::as_bytes(std::span(contents)));
  file.commit();
}

AtomicFolder::AtomicFolder(const fs::path& target) : target_(target.has_filename() ? target : target.parent_path()) {
  std::error_code error;
  const auto there = fs::symlink_status(target_, error);
  if (there.type() == fs::file_type::symlink)
    fail(ErrorCode::Io, "cannot write folder {}: it is a symbolic link; give the folder that it leads to, or another name",
         target_.string());
  replaces_ = there.type() != fs::file_type::not_found;
  if (replaces_ && there.type() != fs::file_type::directory)
    fail(ErrorCode::Io, "cannot write folder {}: a file of that name is there", target_.string());
  check_folder_of(target_);
  const TemporaryFolder made = make_temporary_folder(target_);
  temporary_ = made.path;
  lock_fd_ = made.lock;
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
  struct stat old {};
  const bool has_mode = replaces_ && ::stat(target_.c_str(), &old) == 0;
  ::chmod(temporary_.c_str(), has_mode ? old.st_mode & 07777 : 0777 & ~umask_now());
  ::unlink(marker_of(temporary_).c_str());
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno != EEXIST) fail_io("replace", target_, errno);
    if (!replaces_) fail_appeared(target_);
    // One step from the old folder to the new one, and back where something was put into the old one in the meantime.
    const auto exchange = [&] {
      if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0)
        fail_io("replace", target_, errno);
    };
    exchange();
    mark(temporary_);
    if (!remove_flat_folder(temporary_)) {
      ::unlink(marker_of(temporary_).c_str());
      exchange();
      fail(ErrorCode::Io, "cannot replace folder {}: it holds more than files; choose another output", target_.string());
    }
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
