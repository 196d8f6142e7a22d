#include "taskvec/formats/numpy.h"

#include "taskvec/core/checked.h"

#include <cstring>

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

class NumpyCheckpoint : public Checkpoint {
 public:
  using Checkpoint::Checkpoint;

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const int64_t item = itemsize(entry.info.dtype);
    gather_fortran(entry.info, files()[0]->bytes().data() + entry.offset, static_cast<int64_t>(offset) / item,
                   static_cast<int64_t>(out.size()) / item, out.data());
  }
};

/// The tensor of an array that lies at [begin, begin + size) of a file.
TensorEntry entry_of(std::string name, const MappedFile& file, uint64_t begin, uint64_t size, const std::string& where) {
  const NpyHeader header = read_npy_header(file.bytes().subspan(begin, size), where);
  int64_t nbytes = 0;
  try {
    nbytes = header.info.nbytes();
  } catch (const Error& error) {
    fail(ErrorCode::Format, "{}: an array of shape {}: {}", where, to_string(header.info.shape), error.what());
  }
  if (static_cast<uint64_t>(nbytes) != size - header.size)
    fail(ErrorCode::Format, "{}: {} {} needs {} bytes, but {} follow the header; it may be truncated", where,
         taskvec::name(header.info.dtype), to_string(header.info.shape), nbytes, size - header.size);
  const bool as_is = !header.fortran_order || is_a_line(header.info.shape);
  return {std::move(name), header.info, 0, begin + header.size, as_is};
}

}  // namespace

std::shared_ptr<const Checkpoint> open_npy(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  Manifest manifest;
  manifest.format = "npy";
  manifest.files = {file->path()};
  manifest.tensors = {entry_of(file->path().stem().string(), *file, 0, file->bytes().size(), path.string())};
  return std::make_shared<NumpyCheckpoint>(path, std::move(manifest), std::vector{std::move(file)});
}

}  // namespace taskvec::formats
