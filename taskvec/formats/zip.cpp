#include "taskvec/formats/zip.h"

#include "taskvec/core/error.h"

#include <simdjson.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>

namespace taskvec::formats {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr uint16_t kStored = 0, kDeflated = 8, kZip64Extra = 1;
constexpr uint16_t kEncrypted = 0x2041, kSizesFollow = 0x0008;  // general purpose flags
constexpr uint16_t kIn64Bits16 = 0xFFFF;                        // the value is in a zip64 record
constexpr uint32_t kIn64Bits = 0xFFFFFFFF;
constexpr uint64_t kMaxDeflateRatio = 1032;  // what deflate can reach (zlib's technical notes)

using Bytes = std::span<const std::byte>;

template <typename T>
T number(Bytes bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.subspan(at).data(), sizeof value);
  return value;
}

std::string_view text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Where the directory lies and how many entries it has.
struct Directory {
  uint64_t offset, size, entries;
};

class ZipReader {
 public:
  explicit ZipReader(const MappedFile& file) : file_(file), bytes_(file.bytes()) {}

  std::vector<ZipEntry> read() {
    const Directory directory = find_directory();
    const Bytes headers = slice(directory.offset, directory.size, "its directory");
    if (directory.entries > directory.size / kCentralSize)
      fail(ErrorCode::Format, "{}: a zip directory of {} bytes cannot hold {} files", path(), directory.size, directory.entries);
    if (directory.entries > kMaxZipEntries)
      fail(ErrorCode::Format, "{}: {} files in a zip archive; at most {} are allowed", path(), directory.entries, kMaxZipEntries);
    uint64_t at = 0;
    for (uint64_t i = 0; i < directory.entries; ++i) at += read_entry(headers.subspan(at));
    if (at != directory.size)
      fail(ErrorCode::Format, "{}: {} bytes behind the last entry of the zip directory", path(), directory.size - at);
    return check_layout(directory.offset);
  }

  std::string_view comment() const { return text(bytes_.subspan(find_end() + kEndSize)); }

 private:
  struct Place {
    ZipEntry entry;
    uint64_t header = 0;  ///< offset of the local header
  };

  std::string path() const { return file_.path().string(); }

  Bytes slice(uint64_t offset, uint64_t size, std::string_view what) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) {
      fail(ErrorCode::Format, "{}: {} should be the {} bytes at {}, but the zip archive ends at {}; it may be truncated", path(),
           what, size, offset, bytes_.size());
    }
    return bytes_.subspan(offset, size);
  }

  /// The end record lies at the very end, before a comment of up to 64 KiB.
  uint64_t find_end() const {
    for (uint64_t comment = 0; comment <= 0xFFFF && comment + kEndSize <= bytes_.size(); ++comment) {
      const uint64_t at = bytes_.size() - kEndSize - comment;
      if (number<uint32_t>(bytes_, at) == kEnd && number<uint16_t>(bytes_, at + 20) == comment) return at;
    }
    fail(ErrorCode::Format, "{}: the zip archive has no directory at its end; it is truncated, or more was written behind it",
         path());
  }

  Directory find_directory() const {
    const uint64_t end_at = find_end();
    const Bytes end = bytes_.subspan(end_at, kEndSize);
    if (number<uint16_t>(end, 4) != number<uint16_t>(end, 6) ||
        (number<uint16_t>(end, 4) != 0 && number<uint16_t>(end, 4) != kIn64Bits16))
      fail(ErrorCode::Unsupported, "{}: a zip archive split over several files; join them first", path());
    Directory directory{number<uint32_t>(end, 16), number<uint32_t>(end, 12), number<uint16_t>(end, 10)};
    uint64_t directory_end = end_at;
    if (end_at >= kLocatorSize && number<uint32_t>(bytes_, end_at - kLocatorSize) == kEnd64Locator) {
      directory_end = number<uint64_t>(bytes_, end_at - kLocatorSize + 8);
      const Bytes end64 = slice(directory_end, kEnd64Size, "its zip64 end record");
      if (number<uint32_t>(end64, 0) != kEnd64)
        fail(ErrorCode::Format, "{}: no zip64 end record at {}, where the zip archive says it is", path(), directory_end);
      const Directory wide{number<uint64_t>(end64, 48), number<uint64_t>(end64, 40), number<uint64_t>(end64, 32)};
      if ((directory.offset != kIn64Bits && directory.offset != wide.offset) ||
          (directory.size != kIn64Bits && directory.size != wide.size) ||
          (directory.entries != kIn64Bits16 && directory.entries != wide.entries))
        fail(ErrorCode::Format, "{}: the zip archive's two end records disagree", path());
      directory = wide;
    }
    if (directory.offset > directory_end || directory.size != directory_end - directory.offset)
      fail(ErrorCode::Format,
           "{}: the zip directory should be {} bytes at {}, but its end record lies at {}; it may be truncated", path(),
           directory.size, directory.offset, directory_end);
    return directory;
  }

  /// Adds the entry whose central header starts `header`. @return the header's size
  uint64_t read_entry(Bytes header) {
    if (header.size() < kCentralSize || number<uint32_t>(header, 0) != kCentralHeader)
      fail(ErrorCode::Format, "{}: no entry {} in the zip directory where there should be", path(), places_.size());
    const uint64_t name_size = number<uint16_t>(header, 28), extra_size = number<uint16_t>(header, 30);
    const uint64_t size = kCentralSize + name_size + extra_size + number<uint16_t>(header, 32);
    if (size > header.size())
      fail(ErrorCode::Format, "{}: entry {} reaches {} bytes out of the zip directory", path(), places_.size(),
           size - header.size());
    Place place;
    ZipEntry& entry = place.entry;
    entry.name = checked_name(header.subspan(kCentralSize, name_size));
    entry.size = number<uint32_t>(header, 24);
    entry.compressed = number<uint32_t>(header, 20);
    entry.crc = number<uint32_t>(header, 16);
    place.header = number<uint32_t>(header, 42);
    read_zip64_extra(header.subspan(kCentralSize + name_size, extra_size), entry, &place.header);

    const auto flags = number<uint16_t>(header, 8), method = number<uint16_t>(header, 10);
    if (flags & kEncrypted) fail(ErrorCode::Unsupported, "{}: '{}' is encrypted; decrypt the archive first", path(), entry.name);
    if (method != kStored && method != kDeflated) {
      fail(ErrorCode::Unsupported, "{}: '{}' is compressed by zip method {}; store it, or deflate it", path(), entry.name,
           method);
    }
    entry.deflated = method == kDeflated;
    if (entry.deflated && entry.size / kMaxDeflateRatio > entry.compressed)
      fail(ErrorCode::Format, "{}: '{}' should grow from {} to {} bytes, more than deflate can; a zip bomb?", path(), entry.name,
           entry.compressed, entry.size);
    if (!entry.deflated && entry.size != entry.compressed)
      fail(ErrorCode::Format, "{}: '{}' is stored, but has two sizes: {} and {}", path(), entry.name, entry.compressed,
           entry.size);
    read_local_header(place, flags, method);
    if (entry.name.ends_with('/')) {
      if (entry.size != 0) fail(ErrorCode::Format, "{}: the folder '{}' has {} bytes", path(), entry.name, entry.size);
      return size;
    }
    places_.push_back(std::move(place));
    return size;
  }

  std::string checked_name(Bytes bytes) const {
    const std::string_view name = text(bytes);
    if (name.size() > kMaxZipName)
      fail(ErrorCode::Format, "{}: a name of {} bytes in the zip directory; at most {}", path(), name.size(), kMaxZipName);
    if (!simdjson::validate_utf8(name.data(), name.size()) || name.find('\0') != name.npos)
      fail(ErrorCode::Format, "{}: the name of entry {} in the zip directory is not UTF-8 text", path(), places_.size());
    const std::string inside = '/' + std::string(name) + '/';
    if (name.empty() || name.front() == '/' || name.find('\\') != name.npos || name.find(':') == 1 ||
        inside.find("/../") != inside.npos)
      fail(ErrorCode::Format, "{}: the name '{}' in the zip directory reaches out of its folder", path(), name);
    return std::string(name);
  }

  /// Replaces what did not fit into 32 bits. @param header  null in a local header, which does not say where it is
  void read_zip64_extra(Bytes extra, ZipEntry& entry, uint64_t* header) const {
    if (entry.size != kIn64Bits && entry.compressed != kIn64Bits && (header == nullptr || *header != kIn64Bits)) return;
    while (extra.size() >= 4) {
      const auto id = number<uint16_t>(extra, 0), size = number<uint16_t>(extra, 2);
      extra = extra.subspan(4);
      if (size > extra.size()) break;
      if (id != kZip64Extra) {
        extra = extra.subspan(size);
        continue;
      }
      Bytes values = extra.first(size);
      for (uint64_t* value : {&entry.size, &entry.compressed, header}) {
        if (value == nullptr || *value != kIn64Bits) continue;
        if (values.size() < 8) fail(ErrorCode::Format, "{}: '{}': its zip64 sizes are cut off", path(), entry.name);
        *value = number<uint64_t>(values, 0);
        values = values.subspan(8);
      }
      return;
    }
    if (header != nullptr) fail(ErrorCode::Format, "{}: '{}' lacks its zip64 sizes", path(), entry.name);
  }

  /// Finds the data, and checks that the archive tells the same story twice: readers differ in which half they believe.
  void read_local_header(Place& place, uint16_t flags, uint16_t method) const {
    ZipEntry& entry = place.entry;
    const std::string what = fmt::format("the header of '{}'", entry.name);
    const Bytes header = slice(place.header, kLocalSize, what);
    if (number<uint32_t>(header, 0) != kLocalHeader)
      fail(ErrorCode::Format, "{}: no header of '{}' at {}, where the zip directory says it is", path(), entry.name,
           place.header);
    const uint64_t name_size = number<uint16_t>(header, 26), extra_size = number<uint16_t>(header, 28);
    const Bytes name_and_extra = slice(place.header + kLocalSize, name_size + extra_size, what);
    ZipEntry local;
    local.name = entry.name;
    local.size = number<uint32_t>(header, 22);
    local.compressed = number<uint32_t>(header, 18);
    read_zip64_extra(name_and_extra.subspan(name_size), local, nullptr);
    const bool sizes_agree = local.size == entry.size && local.compressed == entry.compressed;
    const bool sizes_follow = (flags & kSizesFollow) && (local.size == 0 || local.size == kIn64Bits);
    if (text(name_and_extra.first(name_size)) != entry.name || number<uint16_t>(header, 8) != method ||
        (number<uint16_t>(header, 6) & (kEncrypted | kSizesFollow)) != (flags & (kEncrypted | kSizesFollow)) ||
        !(sizes_agree || sizes_follow))
      fail(ErrorCode::Format, "{}: the header of '{}' does not say the same as the zip directory", path(), entry.name);
    entry.offset = place.header + kLocalSize + name_size + extra_size;
    slice(entry.offset, entry.compressed, fmt::format("'{}'", entry.name));
  }

  std::vector<ZipEntry> check_layout(uint64_t directory) {
    std::vector<std::string_view> names;
    for (const auto& place : places_) names.push_back(place.entry.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      fail(ErrorCode::Format, "{}: '{}' is in the zip archive twice", path(), *twice);

    std::sort(places_.begin(), places_.end(), [](const auto& a, const auto& b) { return a.header < b.header; });
    for (size_t i = 0; i < places_.size(); ++i) {
      const uint64_t end = places_[i].entry.offset + places_[i].entry.compressed;
      const uint64_t next = i + 1 < places_.size() ? places_[i + 1].header : directory;
      if (end > next)
        fail(ErrorCode::Format, "{}: '{}' overlaps what comes behind it in the zip archive by {} bytes", path(),
             places_[i].entry.name, end - next);
    }
    std::vector<ZipEntry> entries;
    for (auto& place : places_) entries.push_back(std::move(place.entry));
    return entries;
  }

  const MappedFile& file_;
  Bytes bytes_;
  std::vector<Place> places_;
};

uint32_t crc_of(Bytes bytes) {
  return static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

/// A raw deflate stream's state, freed on every path.
struct Inflater {
  z_stream stream{};
  Inflater() {
    if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

}  // namespace

bool is_zip(std::span<const std::byte> bytes) { return bytes.size() >= 4 && number<uint32_t>(bytes, 0) == kLocalHeader; }

std::vector<ZipEntry> read_zip_directory(const MappedFile& file) { return ZipReader(file).read(); }

std::vector<std::byte> inflate(const MappedFile& file, const ZipEntry& entry) {
  const Bytes input = file.bytes().subspan(entry.offset, entry.compressed);
  std::vector<std::byte> output(entry.size);
  std::byte spare{};  // zlib wants somewhere to point to, and a byte too many shows a stream that is too long
  Inflater inflater;
  z_stream& stream = inflater.stream;
  size_t read = 0, written = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    const auto in = static_cast<uInt>(std::min<size_t>(input.size() - read, 1U << 30));
    const bool full = written == output.size();
    const auto out = full ? 1U : static_cast<uInt>(std::min<size_t>(output.size() - written, 1U << 30));
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data() + read));
    stream.avail_in = in;
    stream.next_out = reinterpret_cast<Bytef*>(full ? &spare : output.data() + written);
    stream.avail_out = out;
    status = ::inflate(&stream, Z_NO_FLUSH);
    read += in - stream.avail_in;
    if (full && stream.avail_out == 0) status = Z_DATA_ERROR;
    if (!full) written += out - stream.avail_out;
  }
  if (status != Z_STREAM_END || written != output.size() || read != input.size())
    fail(ErrorCode::Format, "{}: '{}' does not inflate from {} to {} bytes; the archive is damaged", file.path().string(),
         entry.name, entry.compressed, entry.size);
  if (crc_of(output) != entry.crc)
    fail(ErrorCode::Format, "{}: '{}' inflates to bytes with another CRC than the archive says; it is damaged",
         file.path().string(), entry.name);
  return output;
}

std::vector<std::byte> inflate_start(const MappedFile& file, const ZipEntry& entry, uint64_t size) {
  const Bytes input = file.bytes().subspan(entry.offset, entry.compressed);
  std::vector<std::byte> output(std::min({size, entry.size, uint64_t{1} << 30}));
  if (output.empty()) return output;
  Inflater inflater;
  z_stream& stream = inflater.stream;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
  stream.avail_in = static_cast<uInt>(std::min<size_t>(input.size(), 1U << 30));
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = static_cast<uInt>(output.size());
  if (const int status = ::inflate(&stream, Z_SYNC_FLUSH); (status != Z_OK && status != Z_STREAM_END) || stream.avail_out != 0)
    fail(ErrorCode::Format, "{}: '{}' does not inflate; the archive is damaged", file.path().string(), entry.name);
  return output;
}

std::string_view zip_comment(const MappedFile& file) { return ZipReader(file).comment(); }

bool crc_matches(const MappedFile& file, const ZipEntry& entry) {
  return crc_of(file.bytes().subspan(entry.offset, entry.size)) == entry.crc;
}

}  // namespace taskvec::formats
