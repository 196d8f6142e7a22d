#include "taskvec/core/files/mapped_file.h"

#include "taskvec/core/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace taskvec {
namespace {

int64_t modified_ns(const struct stat& status) { return status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec; }

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

uint64_t page_size() {
  static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

/// madvise() over the pages that lie wholly inside (`shrink`) or touch (!shrink) a range.
void advise(const std::byte* data, size_t size, uint64_t offset, uint64_t length, int advice, bool shrink) {
  const uint64_t page = page_size();
  if (offset >= size) return;
  uint64_t begin = offset, end = std::min<uint64_t>(size, offset + length);
  begin = shrink ? (begin + page - 1) / page * page : begin / page * page;
  end = shrink && end != size ? end / page * page : end;
  if (begin < end) ::madvise(const_cast<std::byte*>(data) + begin, end - begin, advice);
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const auto code = errno == ENOENT || errno == ENOTDIR ? ErrorCode::NotFound : ErrorCode::Io;
    fail(code, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail(ErrorCode::Io, "cannot read {}: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(ErrorCode::Io, "{} is not a regular file", path.string());

  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = path;
  mapped->size_ = static_cast<size_t>(status.st_size);
  mapped->modified_ns_ = modified_ns(status);
  if (mapped->size_ > 0) {
    void* data = ::mmap(nullptr, mapped->size_, PROT_READ, MAP_SHARED, file.fd, 0);
    if (data == MAP_FAILED)
      fail(ErrorCode::Io, "cannot map {} ({} bytes): {}", path.string(), mapped->size_, std::strerror(errno));
    mapped->data_ = static_cast<const std::byte*>(data);
  }
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

// Pages that are in memory are left to faults, which map many at a time: measured, MADV_POPULATE_READ costs several times as
// much, and MADV_WILLNEED something for every page.
void MappedFile::read_ahead(uint64_t offset, uint64_t size) const {
  if (offset >= size_) return;
  unsigned char in_memory = 0;
  auto* first = const_cast<std::byte*>(data_) + offset / page_size() * page_size();
  if (::mincore(first, 1, &in_memory) == 0 && (in_memory & 1) != 0) return;
  advise(data_, size_, offset, size, MADV_WILLNEED, false);
}

void MappedFile::release(uint64_t offset, uint64_t size) const { advise(data_, size_, offset, size, MADV_DONTNEED, true); }

void MappedFile::check_unchanged() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0 || static_cast<size_t>(status.st_size) != size_ ||
      modified_ns(status) != modified_ns_) {
    fail(ErrorCode::Io, "{} was changed while it was being read; run again when nothing writes to it", path_.string());
  }
}

}  // namespace taskvec
