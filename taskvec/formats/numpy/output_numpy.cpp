#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/numpy/npy_header.h"
#include "taskvec/formats/output_format.h"
#include "taskvec/formats/zip.h"

#include <zlib.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

// Zip: PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.3 (zip64).
constexpr uint32_t kLocal = 0x04034B50, kCentral = 0x02014B50, kEnd = 0x06054B50, kEnd64 = 0x06064B50, kLocator64 = 0x07064B50;
constexpr uint64_t kFull32 = 0xFFFFFFFF, kFull16 = 0xFFFF;
constexpr uint16_t kVersion = 45;               // needs zip64
constexpr uint16_t kUtf8 = 1 << 11;             // names are UTF-8
constexpr uint32_t kDate = uint32_t{33} << 16;  // 1980-01-01: the same input gives the same file

template <typename... T>
void append(std::string& out, T... values) {
  (out.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
}

struct Member {
  std::string name;
  uint64_t offset;     // of the local header
  std::string npy{};   // the array's header
  uint64_t array = 0;  // offset of that header
  uint64_t size = 0;   // of array header and elements
  uint32_t checksum = 0;
};

std::string local_header(const Member& m) {
  std::string out;
  // Sizes are always in the zip64 field, as numpy writes them.
  append(out, kLocal, kVersion, kUtf8, uint16_t{0}, kDate, m.checksum, static_cast<uint32_t>(kFull32),
         static_cast<uint32_t>(kFull32), static_cast<uint16_t>(m.name.size()), uint16_t{20});
  out += m.name;
  append(out, uint16_t{1}, uint16_t{16}, m.size, m.size);
  return out;
}

std::string central_header(const Member& m) {
  std::string out, extra;
  const bool big_size = m.size >= kFull32, big_offset = m.offset >= kFull32;
  if (big_size) append(extra, m.size, m.size);
  if (big_offset) append(extra, m.offset);
  const auto size = static_cast<uint32_t>(big_size ? kFull32 : m.size);
  append(out, kCentral, kVersion, kVersion, kUtf8, uint16_t{0}, kDate, m.checksum, size, size,
         static_cast<uint16_t>(m.name.size()), static_cast<uint16_t>(extra.empty() ? 0 : extra.size() + 4), uint16_t{0},
         uint16_t{0}, uint16_t{0}, uint32_t{0}, static_cast<uint32_t>(big_offset ? kFull32 : m.offset));
  out += m.name;
  if (!extra.empty()) {
    append(out, uint16_t{1}, static_cast<uint16_t>(extra.size()));
    out += extra;
  }
  return out;
}

/// Central directory and what ends an archive.
std::string directory(const std::vector<Member>& members, uint64_t begin, const std::string& comment) {
  std::string out;
  for (const auto& member : members) out += central_header(member);
  const uint64_t size = out.size(), count = members.size(), end = begin + size;
  if (count >= kFull16 || size >= kFull32 || begin >= kFull32) {
    append(out, kEnd64, uint64_t{44}, kVersion, kVersion, uint32_t{0}, uint32_t{0}, count, count, size, begin);
    append(out, kLocator64, uint32_t{0}, end, uint32_t{1});
  }
  const auto short_count = static_cast<uint16_t>(std::min(count, kFull16));
  append(out, kEnd, uint16_t{0}, uint16_t{0}, short_count, short_count, static_cast<uint32_t>(std::min(size, kFull32)),
         static_cast<uint32_t>(std::min(begin, kFull32)), static_cast<uint16_t>(comment.size()));
  return out + comment;
}

/// The metadata as JSON: a zip's comment, which numpy ignores. What is taskvec's own comes first where not all fits.
std::string comment_of(const OutputLayout& layout) {
  auto metadata = layout.metadata;
  const auto text = [&] { return metadata.empty() ? "" : nlohmann::json(metadata).dump(); };
  std::string comment = text();
  if (comment.size() <= kFull16) return comment;
  std::erase_if(metadata, [](const auto& entry) { return !entry.first.starts_with("taskvec."); });
  comment = text();
  return comment.size() <= kFull16 ? comment : "";
}

void check_dtype(const fs::path& path, const OutputLayout::Tensor& tensor) {
  if (has_npy_dtype(tensor.info.dtype)) return;
  fail(ErrorCode::InvalidArgument, "{}: tensor '{}' is {}, which numpy lacks; {}", path.string(), tensor.name,
       name(tensor.info.dtype), is_float(tensor.info.dtype) ? "use --dtype F32" : "write .safetensors instead");
}

/// Programs that unpack archives must not be led out of their folder by a tensor's name.
void check_name(const fs::path& path, const std::string& tensor) {
  const fs::path name(tensor);
  const bool climbs = std::find(name.begin(), name.end(), "..") != name.end();
  if (tensor.empty() || name.is_absolute() || climbs || tensor.find_first_of(std::string("\0\\", 2)) != tensor.npos ||
      tensor.find(':') == 1 || tensor.size() + 4 > kMaxZipName)
    fail(ErrorCode::InvalidArgument, "{}: '{}' cannot be the name of a file in an archive; write .safetensors instead",
         path.string(), tensor);
}

/// CRC-32 of bytes, by all cores.
uint32_t checksum(std::span<const std::byte> bytes) {
  constexpr size_t kChunk = size_t{4} << 20;
  std::vector<uint32_t> parts((bytes.size() + kChunk - 1) / kChunk);
  const auto size_of = [&](size_t i) { return std::min(kChunk, bytes.size() - i * kChunk); };
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    const auto* data = reinterpret_cast<const Bytef*>(bytes.data() + at * kChunk);
    parts[at] = static_cast<uint32_t>(::crc32_z(0, data, size_of(at)));
  });
  uLong total = 0;
  for (size_t i = 0; i < parts.size(); ++i) total = ::crc32_combine(total, parts[i], static_cast<z_off_t>(size_of(i)));
  return static_cast<uint32_t>(total);
}

std::vector<Member> members_of(const fs::path& path, std::span<const OutputLayout::Tensor> tensors) {
  std::vector<Member> members;
  uint64_t end = 0;
  for (const auto& tensor : tensors) {
    check_dtype(path, tensor);
    check_name(path, tensor.name);
    Member member{tensor.name + ".npy", end};
    member.array = end + local_header(member).size();
    member.npy = make_npy_header(tensor.info, member.array);
    member.size = member.npy.size() + static_cast<uint64_t>(tensor.info.nbytes());
    end = member.array + member.size;
    members.push_back(std::move(member));
  }
  return members;
}

void write_text(AtomicFile& file, uint64_t offset, const std::string& text) {
  file.write_at(offset, std::as_bytes(std::span(text)));
}

class NpzOutput : public OutputFormat {
 public:
  FileLayout lay_out(const fs::path& path, std::span<const OutputLayout::Tensor> tensors,
                     const OutputLayout& layout) const override {
    const auto members = members_of(path, tensors);
    FileLayout file;
    for (const auto& member : members) {
      file.texts.push_back({member.offset, local_header(member) + member.npy});
      file.offsets.push_back(member.array + member.npy.size());
    }
    const uint64_t end = members.empty() ? 0 : members.back().array + members.back().size;
    file.texts.push_back({end, directory(members, end, comment_of(layout))});
    file.size = end + file.texts.back().bytes.size();
    return file;
  }

  void finish(const fs::path& path, std::span<const OutputLayout::Tensor> tensors, const OutputLayout& layout,
              AtomicFile& file) const override {
    auto members = members_of(path, tensors);
    uint64_t end = 0;
    for (auto& member : members) {
      end = member.array + member.size;
      member.checksum = checksum(file.bytes().subspan(member.array, member.size));
      write_text(file, member.offset, local_header(member));
    }
    write_text(file, end, directory(members, end, comment_of(layout)));
  }
};

class NpyOutput : public OutputFormat {
 public:
  FileLayout lay_out(const fs::path& path, std::span<const OutputLayout::Tensor> tensors, const OutputLayout&) const override {
    if (tensors.size() != 1)
      fail(ErrorCode::InvalidArgument, "{}: a .npy file holds one array, not {}; write .npz instead", path.string(),
           tensors.size());
    check_dtype(path, tensors[0]);
    FileLayout file;
    file.texts.push_back({0, make_npy_header(tensors[0].info, 0)});
    file.offsets.push_back(file.texts[0].bytes.size());
    file.size = file.offsets[0] + static_cast<uint64_t>(tensors[0].info.nbytes());
    return file;
  }
};

}  // namespace

const OutputFormat& npz_output() {
  static const NpzOutput format;
  return format;
}

const OutputFormat& npy_output() {
  static const NpyOutput format;
  return format;
}

}  // namespace taskvec::formats
