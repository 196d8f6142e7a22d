#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace taskvec {

/// A file that appears under its name complete or not at all: a temporary file in the target's folder, pre-sized (so that a full
/// disk fails before work starts), written in any order from any thread, then fsync and rename. Without commit() nothing is left.
class AtomicFile {
 public:
  /// @param size  final size in bytes. @throws Error{Io} naming the path: read-only folder, no space left, ...
  AtomicFile(const std::filesystem::path& path, uint64_t size);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;

  /// The whole file, writable. Lifetime: until commit() or destruction.
  std::span<std::byte> bytes() &;
  /// The fast way to write much; seen by bytes() at once.
  void write_at(uint64_t offset, std::span<const std::byte> data);
  /// Starts write-back of a finished range so that the disk works while the CPU does.
  void flush_hint(uint64_t offset, uint64_t size);
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Replaces a small file atomically. @throws Error{Io} naming the path.
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

/// A folder that appears under its name complete or not at all: files are written into `path()` (a temporary sibling of the
/// target); commit() fsyncs and renames it into place, replacing an older folder of that name in one step (renameat2 exchange).
/// Temporary folders that a killed run left behind are removed by the next run for the same target.
class AtomicFolder {
 public:
  explicit AtomicFolder(const std::filesystem::path& target);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
  int lock_fd_ = -1;
};

/// Reads a whole small file (JSON, YAML). @throws Error{NotFound, Io}, Error{Format} when larger than `limit` bytes.
std::string read_file(const std::filesystem::path& path, uint64_t limit = uint64_t{256} << 20);

}  // namespace taskvec
