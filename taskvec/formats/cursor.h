#pragma once

#include "taskvec/core/error.h"
#include "taskvec/core/files/mapped_file.h"

#include <bit>
#include <cstring>
#include <type_traits>

namespace taskvec::formats {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read in place");

/// Reads a mapped file front to back; no read passes its end. Lifetime: the file must outlive it and the spans it gives.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.bytes().size() - position_; }

  /// The next bytes. @throws Error{Format} naming the file and `what`, when the file ends before them
  std::span<const std::byte> bytes(uint64_t size, std::string_view what) {
    if (size > left())
      fail(ErrorCode::Format, "{}: {} needs {} bytes at byte {}, but the file ends after {}; it may be truncated",
           file_.path().string(), what, size, position_, left());
    const auto result = file_.bytes().subspan(position_, size);
    position_ += size;
    return result;
  }

  template <typename T>
  requires std::is_trivially_copyable_v<T> T read(std::string_view what) {
    T value;
    std::memcpy(&value, bytes(sizeof(T), what).data(), sizeof(T));
    return value;
  }

 private:
  const MappedFile& file_;
  uint64_t position_ = 0;
};

}  // namespace taskvec::formats
