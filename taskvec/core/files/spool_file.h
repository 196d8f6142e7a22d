#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace taskvec {

/// A nameless temporary file beside a target, for parts whose sizes are known only when all are made. It goes with the process,
/// however that ends. Threads: read() from any thread, append() from one at a time.
class SpoolFile {
 public:
  /// @throws Error{Io} naming the target: read-only folder, ...
  explicit SpoolFile(const std::filesystem::path& target);
  ~SpoolFile();
  SpoolFile(const SpoolFile&) = delete;
  SpoolFile& operator=(const SpoolFile&) = delete;

  uint64_t size() const { return size_; }
  /// @throws Error{Io} no space left, ...
  void append(std::span<const std::byte> bytes);
  /// Fills `out` from `offset` on; all of it must have been appended.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path target_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace taskvec
