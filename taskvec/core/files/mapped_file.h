#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace taskvec {

/// A read-only memory mapping of a whole regular file; unmapped when the last owner goes.
/// Threads: const methods may be called from any thread.
class MappedFile {
 public:
  /// @throws Error{NotFound} when the file is absent, Error{Io} when it is no regular file or cannot be mapped.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const& { return {data_, size_}; }
  std::span<const std::byte> bytes() && = delete;
  const std::filesystem::path& path() const& { return path_; }

  /// Begins to read a range from the disk, without waiting, where its first page is not in memory yet.
  void read_ahead(uint64_t offset, uint64_t size) const;
  /// Lets go of a range, which keeps resident memory small; what is read again comes back.
  void release(uint64_t offset, uint64_t size) const;

  /// @throws Error{Io} when size or modification time differ from when the file was mapped (it was changed while in use).
  void check_unchanged() const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int64_t modified_ns_ = 0;
};

}  // namespace taskvec
