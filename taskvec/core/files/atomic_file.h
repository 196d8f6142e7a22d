#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace taskvec {

/// A file that appears under its name complete or not at all: a nameless file in the target's folder (where the file system has
/// such; else one in a temporary folder), pre-sized (so that a full disk fails before work starts), written in any order from any
/// thread, then fsync and a name. Without commit() nothing is left; a kill can leave at most a marked temporary folder, which the
/// next one for the same target removes. A file that was there when this one was begun is replaced and its mode kept; one that
/// appeared since is not. Links, devices and pipes are never replaced.
class AtomicFile {
 public:
  /// @param size  final size in bytes. @throws Error{Io} naming the path: read-only folder, no space left, no regular file, ...
  /// @param replace  also replaces a file that appeared in the meantime (files that only taskvec writes)
  AtomicFile(const std::filesystem::path& path, uint64_t size, bool replace = false);
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

/// Replaces nothing: copies a regular file (never through a link) into a new one with the mode that new files get.
void copy_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// A folder that appears under its name complete or not at all: files are written into `path()` (a temporary sibling of the
/// target); commit() fsyncs and renames it into place, replacing an older folder of that name in one step (renameat2 exchange).
/// The older folder must have been there from the start; it may hold files only, and these are deleted by name: whoever replaces
/// a folder has made sure that they are taskvec's (formats/replaceable.h). Temporary folders that a killed run left behind are
/// known by a marker that taskvec wrote into them; the next run for the same target removes them.
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
  bool replaces_ = false, committed_ = false;
  int lock_fd_ = -1;
};

/// Reads a whole small file (JSON, YAML). @throws Error{NotFound, Io}, Error{Format} when larger than `limit` bytes.
std::string read_file(const std::filesystem::path& path, uint64_t limit = uint64_t{256} << 20);

}  // namespace taskvec
