#include "taskvec/formats/numpy/numpy.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

/// Elements [first, first + n) in row-major order of a column-major array.
void gather_fortran(const TensorInfo& info, const std::byte* array, int64_t first, int64_t n, std::byte* out) {
  if (n == 0) return;
  const auto item = static_cast<size_t>(itemsize(info.dtype));
  const auto rank = info.shape.size();
  std::vector<int64_t> index(rank), stride(rank);
  int64_t step = 1, rest = first, at = 0;
  for (size_t d = 0; d < rank; ++d) {
    stride[d] = step;
    step *= info.shape[d];
  }
  for (size_t d = rank; d-- > 0; rest /= info.shape[d]) {
    index[d] = rest % info.shape[d];
    at += index[d] * stride[d];
  }
  for (int64_t i = 0; i < n; ++i, out += item) {
    std::memcpy(out, array + static_cast<size_t>(at) * item, item);
    for (size_t d = rank; d-- > 0;) {
      at += stride[d];
      if (++index[d] < info.shape[d]) break;
      at -= index[d] * stride[d];
      index[d] = 0;
    }
  }
}

/// Fortran order says nothing about arrays that are a line.
bool is_a_line(const Shape& shape) {
  int64_t long_dimensions = 0;
  for (const int64_t dimension : shape) long_dimensions += dimension == 1 ? 0 : 1;
  return long_dimensions <= 1;
}

/// One array: as a tensor, and where its bytes come from.
struct Array {
  TensorEntry entry;  // the offset is that of the elements; meaningless where they are deflated
  bool fortran_order = false;
  size_t header = 0;                   // bytes before the elements
  std::optional<ZipEntry> deflated{};  // the member to inflate
};

/// @param bytes  the array, or its start
/// @param size   of the whole array with its header
Array array_of(std::string name, std::span<const std::byte> bytes, uint64_t size, uint64_t begin, const std::string& where) {
  const NpyHeader header = read_npy_header(bytes, where);
  int64_t nbytes = 0;
  try {
    nbytes = header.info.nbytes();
  } catch (const Error& error) {
    fail(ErrorCode::Format, "{}: an array of shape {}: {}", where, to_string(header.info.shape), error.what());
  }
  if (static_cast<uint64_t>(nbytes) != size - header.size)
    fail(ErrorCode::Format, "{}: {} {} needs {} bytes, but {} follow the header; it may be truncated", where,
         taskvec::name(header.info.dtype), to_string(header.info.shape), nbytes, size - header.size);
  Array array;
  array.fortran_order = header.fortran_order && !is_a_line(header.info.shape);
  array.header = header.size;
  array.entry = {std::move(name), header.info, 0, begin + header.size, !array.fortran_order};
  return array;
}

/// Deflated members, the last few of them inflated: tiles of one tensor follow each other.
class InflatedMembers {
 public:
  std::shared_ptr<const std::vector<std::byte>> get(const MappedFile& file, const ZipEntry& member) {
    constexpr size_t kKept = 4;
    const std::lock_guard lock(mutex_);  // also while inflating: another thread most likely waits for the same member
    const auto found = std::find_if(recent_.begin(), recent_.end(), [&](const auto& r) { return r.first == member.offset; });
    if (found != recent_.end()) return found->second;
    if (recent_.size() == kKept) recent_.pop_front();
    recent_.emplace_back(member.offset, std::make_shared<const std::vector<std::byte>>(inflate(file, member)));
    return recent_.back().second;
  }

 private:
  std::mutex mutex_;
  std::deque<std::pair<uint64_t, std::shared_ptr<const std::vector<std::byte>>>> recent_;
};

class NumpyCheckpoint : public Checkpoint {
 public:
  NumpyCheckpoint(fs::path path, Manifest manifest, std::shared_ptr<const MappedFile> file, std::vector<Array> arrays,
                  std::vector<ZipEntry> members)
      : Checkpoint(std::move(path), std::move(manifest), {std::move(file)}),
        arrays_(std::move(arrays)),
        members_(std::move(members)) {}

  std::vector<std::string> damage() const override {
    std::vector<std::string> found(members_.size());
    parallel_for(static_cast<int64_t>(members_.size()), [&](int64_t i) {
      const ZipEntry& member = members_[static_cast<size_t>(i)];
      if (!member.deflated && !crc_matches(*files()[0], member))
        found[static_cast<size_t>(i)] = fmt::format("{}: '{}' has another CRC than the archive says; it is damaged",
                                                    files()[0]->path().string(), member.name);
    });
    std::erase(found, "");
    return found;
  }

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const Array& array = arrays_[manifest().index.find(entry.name)->second];
    std::shared_ptr<const std::vector<std::byte>> inflated;
    if (array.deflated) inflated = inflated_.get(*files()[0], *array.deflated);
    const std::byte* elements = inflated ? inflated->data() + array.header : files()[0]->bytes().data() + entry.offset;
    const int64_t item = itemsize(entry.info.dtype);
    if (array.fortran_order) {
      gather_fortran(entry.info, elements, static_cast<int64_t>(offset) / item, static_cast<int64_t>(out.size()) / item,
                     out.data());
    } else if (!out.empty()) {
      std::memcpy(out.data(), elements + offset, out.size());
    }
  }

  std::vector<Array> arrays_;  // of the manifest's tensors
  std::vector<ZipEntry> members_;
  mutable InflatedMembers inflated_;
};

std::shared_ptr<const Checkpoint> make_checkpoint(const fs::path& path, std::string format, std::vector<Array> arrays,
                                                  std::map<std::string, std::string> metadata, std::vector<ZipEntry> members,
                                                  std::shared_ptr<const MappedFile> file) {
  Manifest manifest;
  manifest.format = std::move(format);
  manifest.metadata = std::move(metadata);
  manifest.files = {file->path()};
  for (const auto& array : arrays) manifest.tensors.push_back(array.entry);
  return std::make_shared<NumpyCheckpoint>(path, std::move(manifest), std::move(file), std::move(arrays), std::move(members));
}

std::map<std::string, std::string> metadata_of(std::string_view comment) {
  std::map<std::string, std::string> metadata;
  const auto json = parse_bounded_json(comment);
  if (!json.is_object()) return metadata;
  for (const auto& [key, value] : json.items())
    if (value.is_string()) metadata.emplace(key, value.get<std::string>());
  return metadata;
}

constexpr std::string_view kExtension = ".npy";

}  // namespace

bool is_npz(std::span<const ZipEntry> members) {
  return !members.empty() && std::all_of(members.begin(), members.end(), [](const ZipEntry& member) {
    return member.name.ends_with(kExtension) && member.name.size() > kExtension.size();
  });
}

std::shared_ptr<const Checkpoint> open_npz(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  std::vector<ZipEntry> members = read_zip_directory(*file);
  std::vector<Array> arrays;
  for (const ZipEntry& member : members) {
    const std::string name = member.name.substr(0, member.name.size() - kExtension.size());
    const std::string where = fmt::format("{}: '{}'", path.string(), member.name);
    if (member.deflated) {
      arrays.push_back(array_of(name, inflate_start(*file, member, kMaxNpyHeader), member.size, 0, where));
      arrays.back().entry.as_is = false;
      arrays.back().deflated = member;
    } else {
      arrays.push_back(array_of(name, file->bytes().subspan(member.offset, member.size), member.size, member.offset, where));
    }
  }
  auto metadata = metadata_of(zip_comment(*file));
  return make_checkpoint(path, "npz", std::move(arrays), std::move(metadata), std::move(members), std::move(file));
}

std::shared_ptr<const Checkpoint> open_npy(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  const auto bytes = file->bytes();
  std::vector<Array> arrays{array_of(file->path().stem().string(), bytes, bytes.size(), 0, path.string())};
  return make_checkpoint(path, "npy", std::move(arrays), {}, {}, std::move(file));
}

}  // namespace taskvec::formats
