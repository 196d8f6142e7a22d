#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/data/source.h"

#include <zlib.h>

#include <algorithm>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;
// Real pictures shrink three- to tenfold; a file that says more wants memory, not training.
constexpr uint64_t kMaxBytes = uint64_t{4} << 30, kFreeBytes = uint64_t{64} << 20, kMaxRatio = 100;

/// A file, or its .gz sibling, unpacked.
fs::path locate(const fs::path& folder, const std::string& file) {
  const fs::path plain = folder / file, packed = folder / (file + ".gz");
  return fs::exists(plain) || !fs::exists(packed) ? plain : packed;
}

/// The IDX format of MNIST: 0, 0, 8 (unsigned bytes), number of dimensions, the dimensions as big-endian 32 bits, the values.
struct Idx {
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
  size_t offset = 0;  ///< of the values
};

/// The header decides before anything is read or allocated for the values.
Idx read_idx(const fs::path& path, size_t dimensions) {
  const auto bad = [&](const std::string& why) { fail(ErrorCode::Format, "{}: not an IDX file: {}", path.string(), why); };
  const uint64_t file_bytes = regular_file_size(path);
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);  // reads plain files too
  if (!file) fail(ErrorCode::NotFound, "{}: cannot be opened", path.string());
  Idx idx;
  const auto read = [&](uint64_t size) {
    const size_t have = idx.bytes.size();
    idx.bytes.resize(have + size);
    const int got = gzread(file.get(), idx.bytes.data() + have, static_cast<unsigned>(size));
    if (got < 0) fail(ErrorCode::Format, "{}: broken gzip data", path.string());
    idx.bytes.resize(have + static_cast<size_t>(got));
    return static_cast<uint64_t>(got) == size;
  };
  idx.offset = 4 + 4 * dimensions;
  if (!read(idx.offset)) bad(fmt::format("{} bytes", idx.bytes.size()));
  if (idx.bytes[0] != 0 || idx.bytes[1] != 0 || idx.bytes[2] != 8 || idx.bytes[3] != dimensions)
    bad(fmt::format("expected unsigned bytes in {} dimensions", dimensions));
  uint64_t total = 1;
  for (size_t d = 0; d < dimensions; ++d) {
    const uint8_t* p = idx.bytes.data() + 4 + 4 * d;
    idx.shape.push_back(int64_t{p[0]} << 24 | int64_t{p[1]} << 16 | int64_t{p[2]} << 8 | int64_t{p[3]});
    if (idx.shape.back() == 0 || __builtin_mul_overflow(total, static_cast<uint64_t>(idx.shape.back()), &total))
      bad("its dimensions");
  }
  const uint64_t most = std::min(kMaxBytes, std::max(kFreeBytes, kMaxRatio * file_bytes));
  if (total > most) bad(fmt::format("{} values in a file of {} bytes; at most {} are expected", total, file_bytes, most));
  constexpr uint64_t kStep = uint64_t{16} << 20;
  for (uint64_t left = total; left > 0; left -= std::min(left, kStep))
    if (!read(std::min(left, kStep))) bad(fmt::format("expected {} values, got {}", total, idx.bytes.size() - idx.offset));
  if (read(1)) bad(fmt::format("expected {} values, and there are more", total));
  return idx;
}

class IdxDataset final : public Dataset {
 public:
  IdxDataset(Idx images, Idx labels) : images_(std::move(images)), labels_(std::move(labels)) {}
  int64_t size() const override { return images_.shape[0]; }
  int64_t label(int64_t index) const override { return labels_.bytes[labels_.offset + static_cast<size_t>(index)]; }
  Image image(int64_t index) const override {
    const int64_t height = images_.shape[1], width = images_.shape[2];
    const auto begin = images_.bytes.begin() + static_cast<ptrdiff_t>(images_.offset) + index * height * width;
    return {height, width, 1, {begin, begin + height * width}};
  }
  std::string fingerprint() const override {
    return Fingerprint().update(std::as_bytes(std::span(images_.bytes))).update(std::as_bytes(std::span(labels_.bytes))).hex();
  }

 private:
  Idx images_, labels_;
};

std::vector<fs::path> files(const Task& task, const YAML::Node& settings, const char* split) {
  const auto names = required_list(task, settings, split);
  if (names.size() != 2) bad_task(task, settings[split], fmt::format("'{}' is [images file, labels file]", split));
  const fs::path folder = resolve(task, required_text(task, settings, "folder"));
  return {locate(folder, names[0]), locate(folder, names[1])};
}

void check(Task& task, const YAML::Node& settings) {
  check_keys(task, settings, {"folder", "train", "test", "get"});
  files(task, settings, "train");
  files(task, settings, "test");
}

std::string missing(const Task& task, const YAML::Node& settings) {
  for (const char* split : {"train", "test"}) {
    for (const fs::path& file : files(task, settings, split)) {
      if (!fs::exists(file)) return fmt::format("{} is missing; {}", file.string(), how_to_get(settings));
    }
  }
  return "";
}

std::shared_ptr<const Dataset> open(const Task& task, const YAML::Node& settings, Split split) {
  const auto paths = files(task, settings, split == Split::Test ? "test" : "train");
  Idx images = read_idx(paths[0], 3), labels = read_idx(paths[1], 1);
  if (images.shape[0] != labels.shape[0]) {
    fail(ErrorCode::Format, "{}: {} labels for {} images of {}", paths[1].string(), labels.shape[0], images.shape[0],
         paths[0].string());
  }
  const uint8_t largest = *std::max_element(labels.bytes.begin() + static_cast<ptrdiff_t>(labels.offset), labels.bytes.end());
  if (largest >= task.classes.size()) {
    fail(ErrorCode::Format, "{}: label {}, but the task '{}' has {} classes", paths[1].string(), largest, task.name,
         task.classes.size());
  }
  return take_split(std::make_shared<IdxDataset>(std::move(images), std::move(labels)), split);
}

}  // namespace

const SourceKind kIdx{"idx", check, missing, open, true};

}  // namespace taskvec::data
