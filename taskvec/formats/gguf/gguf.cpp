#include "taskvec/formats/gguf/gguf.h"

#include "taskvec/core/checked.h"
#include "taskvec/formats/cursor.h"
#include "taskvec/formats/gguf/gguf_blocks.h"

#include <simdjson.h>

#include <algorithm>
#include <array>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxEntries = uint64_t{1} << 20;        // of tensors, and of metadata
constexpr uint64_t kMaxMetadataBytes = uint64_t{1} << 28;  // ten times the largest vocabulary
constexpr uint64_t kMinMetadataBytes = 13, kMinTensorBytes = 24;

constexpr std::array<uint64_t, 13> kValueBytes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // 0: strings and arrays
constexpr std::array<std::string_view, 13> kValueNames{"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                       "bool", "string", "array", "u64", "i64", "f64"};

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

struct Parsed {
  Manifest manifest;
  std::vector<const GgmlType*> types;  // of the manifest's tensors
};

class Reader {
 public:
  explicit Reader(const MappedFile& file) : file_(file), cursor_(file) {}

  Parsed read() {
    cursor_.bytes(kMagic.size(), "the magic");
    const auto version = cursor_.read<uint32_t>("the version");
    if (version == 0x02000000 || version == 0x03000000)
      fail(ErrorCode::Unsupported, "{}: a big-endian GGUF file; taskvec reads little-endian ones", path());
    if (version != 2 && version != 3) fail(ErrorCode::Unsupported, "{}: GGUF version {}; taskvec reads 2 and 3", path(), version);
    const uint64_t tensors = count("tensors", kMinTensorBytes), entries = count("metadata entries", kMinMetadataBytes);
    const uint64_t begin = cursor_.position();
    for (uint64_t i = 0; i < entries; ++i) {
      read_metadata();
      if (cursor_.position() - begin > kMaxMetadataBytes)
        fail(ErrorCode::Format, "{}: more than {} bytes of metadata", path(), kMaxMetadataBytes);
    }
    for (uint64_t i = 0; i < tensors; ++i) read_tensor();
    place_tensors();
    refuse_split();
    manifest_.format = fmt::format("GGUF v{}", version);
    manifest_.files = {file_.path()};
    Parsed parsed{std::move(manifest_), {}};
    for (auto& tensor : tensors_) {
      parsed.manifest.tensors.push_back(std::move(tensor.entry));
      parsed.types.push_back(tensor.type);
    }
    return parsed;
  }

 private:
  struct Tensor {
    TensorEntry entry;
    const GgmlType* type;
    uint64_t nbytes;  // in the file
  };

  std::string path() const { return file_.path().string(); }

  uint64_t count(std::string_view what, uint64_t at_least) {
    const auto n = cursor_.read<uint64_t>("the header");
    if (n > kMaxEntries || n > cursor_.left() / at_least)
      fail(ErrorCode::Format, "{}: {} {} do not fit into a file of {} bytes (and at most {} are read)", path(), n, what,
           file_.bytes().size(), kMaxEntries);
    return n;
  }

  std::string_view string(std::string_view what, uint64_t limit) {
    const auto size = cursor_.read<uint64_t>(what);
    if (size > limit) fail(ErrorCode::Format, "{}: {} of {} bytes; at most {}", path(), what, size, limit);
    const auto bytes = cursor_.bytes(size, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A key or a tensor's name.
  std::string name(std::string_view what, uint64_t limit) {
    const std::string_view text = string(what, limit);
    if (text.empty() || !is_utf8(text) || text.find('\0') != text.npos)
      fail(ErrorCode::Format, "{}: {} at byte {} is empty, holds a NUL or is no UTF-8", path(), what,
           cursor_.position() - text.size());
    return std::string(text);
  }

  GgufValue value_type(const std::string& key) {
    const auto type = cursor_.read<uint32_t>("a metadata type");
    if (type >= kValueBytes.size()) fail(ErrorCode::Format, "{}: metadata '{}' has type {}; 0 to 12 exist", path(), key, type);
    return static_cast<GgufValue>(type);
  }

  void read_metadata() {
    std::string key = name("a metadata key", kGgufMaxKeyBytes);
    if (manifest_.metadata.contains(key)) fail(ErrorCode::Format, "{}: metadata '{}' is there twice", path(), key);
    const uint64_t begin = cursor_.position();
    const GgufValue type = value_type(key);
    std::string text = type == GgufValue::ARRAY ? array(key) : scalar(key, type);
    if (type != GgufValue::STRING || !is_utf8(text)) {
      const auto native = file_.bytes().subspan(begin, cursor_.position() - begin);
      manifest_.native_metadata[key] = {reinterpret_cast<const char*>(native.data()), native.size()};
      if (type == GgufValue::STRING) text = fmt::format("({} bytes that are no UTF-8)", text.size());
    }
    if (key == "general.alignment") set_alignment(type, text);
    manifest_.metadata.emplace(std::move(key), std::move(text));
  }

  std::string scalar(const std::string& key, GgufValue type) {
    switch (type) {
      case GgufValue::U8: return fmt::to_string(cursor_.read<uint8_t>(key));
      case GgufValue::I8: return fmt::to_string(cursor_.read<int8_t>(key));
      case GgufValue::U16: return fmt::to_string(cursor_.read<uint16_t>(key));
      case GgufValue::I16: return fmt::to_string(cursor_.read<int16_t>(key));
      case GgufValue::U32: return fmt::to_string(cursor_.read<uint32_t>(key));
      case GgufValue::I32: return fmt::to_string(cursor_.read<int32_t>(key));
      case GgufValue::U64: return fmt::to_string(cursor_.read<uint64_t>(key));
      case GgufValue::I64: return fmt::to_string(cursor_.read<int64_t>(key));
      case GgufValue::F32: return fmt::to_string(cursor_.read<float>(key));
      case GgufValue::F64: return fmt::to_string(cursor_.read<double>(key));
      case GgufValue::BOOL: {
        const auto value = cursor_.read<uint8_t>(key);
        if (value > 1) fail(ErrorCode::Format, "{}: metadata '{}' is a bool of {}; 0 or 1 expected", path(), key, value);
        return value == 1 ? "true" : "false";
      }
      default: return std::string(string(key, cursor_.left()));
    }
  }

  /// Reads past an array; its text is the number of elements and the first few.
  std::string array(const std::string& key) {
    constexpr uint64_t kShown = 4;
    constexpr size_t kShownBytes = 32;
    const GgufValue type = value_type(key);
    if (type == GgufValue::ARRAY)
      fail(ErrorCode::Unsupported, "{}: metadata '{}' is an array of arrays, which taskvec does not read", path(), key);
    const auto n = cursor_.read<uint64_t>(key);
    const uint64_t item = type == GgufValue::STRING ? sizeof(uint64_t) : kValueBytes[static_cast<size_t>(type)];
    if (n > cursor_.left() / item)
      fail(ErrorCode::Format, "{}: metadata '{}' has {} elements, but the file ends after {} bytes; it may be truncated", path(),
           key, n, cursor_.left());
    std::string text = fmt::format("[{} of {}", n, kValueNames[static_cast<size_t>(type)]);
    uint64_t i = 0;
    for (; i < std::min(n, kShown); ++i) {
      const std::string element = scalar(key, type);
      text += (i == 0 ? ": " : ", ") + (element.size() <= kShownBytes && is_utf8(element) ? element : std::string("..."));
    }
    if (type != GgufValue::STRING) cursor_.bytes((n - i) * item, key);
    for (; type == GgufValue::STRING && i < n; ++i) string(key, cursor_.left());
    return text + (n > kShown ? ", ...]" : "]");
  }

  void set_alignment(GgufValue type, const std::string& text) {
    const uint64_t value = type == GgufValue::U32 ? std::stoull(text) : 0;
    if (value == 0 || (value & (value - 1)) != 0)
      fail(ErrorCode::Format, "{}: general.alignment is {} ({}); a u32 power of two expected", path(), text,
           kValueNames[static_cast<size_t>(type)]);
    alignment_ = value;
  }

  void read_tensor() {
    Tensor tensor;
    TensorEntry& entry = tensor.entry;
    entry.name = name("a tensor's name", kGgufMaxTensorName);
    const auto dimensions = cursor_.read<uint32_t>(entry.name);
    if (dimensions > kGgufMaxDimensions)
      fail(ErrorCode::Format, "{}: tensor '{}' has {} dimensions; at most {}", path(), entry.name, dimensions,
           kGgufMaxDimensions);
    for (uint32_t i = 0; i < dimensions; ++i) entry.info.shape.push_back(cursor_.read<int64_t>(entry.name));
    const int64_t row = dimensions == 0 ? 1 : entry.info.shape[0];
    std::reverse(entry.info.shape.begin(), entry.info.shape.end());
    const auto id = cursor_.read<uint32_t>(entry.name);
    tensor.type = find_ggml_type(id);
    if (tensor.type == nullptr || !tensor.type->readable())
      fail(ErrorCode::Unsupported, "{}: tensor '{}' has type {} ({}), which taskvec does not read; dequantise it with llama.cpp",
           path(), entry.name, id, tensor.type == nullptr ? "unknown" : tensor.type->name);
    const GgmlType& type = *tensor.type;
    entry.info.dtype = type.as_is.value_or(Dtype::F32);
    entry.as_is = type.as_is.has_value();
    entry.offset = cursor_.read<uint64_t>(entry.name);  // from the start of the data, which is not known yet
    if (row % type.block_elements != 0)
      fail(ErrorCode::Format, "{}: tensor '{}' has rows of {} elements, no multiple of {}'s blocks of {}", path(), entry.name,
           row, type.name, type.block_elements);
    try {
      entry.info.nbytes();
      tensor.nbytes =
          static_cast<uint64_t>(checked_mul(numel(entry.info.shape) / type.block_elements, type.block_bytes, "tensor size"));
    } catch (const Error& error) {
      fail(ErrorCode::Format, "{}: tensor '{}' with shape {}: {}", path(), entry.name, to_string(entry.info.shape), error.what());
    }
    tensors_.push_back(std::move(tensor));
  }

  /// Offsets from the start of the file; names are unique, tensors are aligned, do not overlap, and leave only padding between.
  void place_tensors() {
    std::vector<std::string_view> names;
    for (const auto& tensor : tensors_) names.push_back(tensor.entry.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      fail(ErrorCode::Format, "{}: tensor '{}' is there twice", path(), *twice);

    const uint64_t size = file_.bytes().size(), begin = (cursor_.position() + alignment_ - 1) / alignment_ * alignment_;
    if (!tensors_.empty() && begin > size)
      fail(ErrorCode::Format, "{}: the data begin at byte {}, but the file has {}; it may be truncated", path(), begin, size);
    for (auto& [entry, type, nbytes] : tensors_) {
      if (entry.offset % alignment_ != 0)
        fail(ErrorCode::Format, "{}: tensor '{}' at offset {} is not aligned to {} bytes", path(), entry.name, entry.offset,
             alignment_);
      if (entry.offset > size - begin || nbytes > size - begin - entry.offset)
        fail(ErrorCode::Format,
             "{}: tensor '{}' needs {} bytes at offset {}, but the file holds {} bytes of data; it may be truncated", path(),
             entry.name, nbytes, entry.offset, size - begin);
      entry.offset += begin;
    }
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const Tensor& a, const Tensor& b) {
      return std::pair(a.entry.offset, a.nbytes) < std::pair(b.entry.offset, b.nbytes);
    });
    uint64_t end = begin;
    const auto check_gap = [&](uint64_t next, std::string_view where) {
      if (next >= end && next - end >= alignment_)
        fail(ErrorCode::Format, "{}: {} bytes {} belong to no tensor", path(), next - end, where);
    };
    for (const auto& [entry, type, nbytes] : tensors_) {
      if (entry.offset < end)
        fail(ErrorCode::Format, "{}: tensor '{}' overlaps the one before it by {} bytes", path(), entry.name, end - entry.offset);
      check_gap(entry.offset, fmt::format("before tensor '{}'", entry.name));
      end = entry.offset + nbytes;
    }
    check_gap(size, "behind the last tensor");
  }

  void refuse_split() const {
    const auto parts = manifest_.metadata.find("split.count");
    if (parts != manifest_.metadata.end() && parts->second != "0" && parts->second != "1")
      fail(ErrorCode::Unsupported, "{}: one of {} parts; join them first with llama-gguf-split --merge", path(), parts->second);
  }

  const MappedFile& file_;
  Cursor cursor_;
  uint64_t alignment_ = kGgufAlignment;
  Manifest manifest_;
  std::vector<Tensor> tensors_;
};

class GgufCheckpoint : public Checkpoint {
 public:
  GgufCheckpoint(fs::path path, Parsed parsed, std::shared_ptr<const MappedFile> file)
      : Checkpoint(std::move(path), std::move(parsed.manifest), {std::move(file)}), types_(std::move(parsed.types)) {}

 private:
  void make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const override {
    const GgmlType& type = *types_[manifest().index.find(entry.name)->second];
    const std::byte* blocks = files()[0]->bytes().data() + entry.offset;
    const auto size = static_cast<uint64_t>(type.block_elements);
    std::array<float, 256> block;
    uint64_t first = offset / sizeof(float);
    while (!out.empty()) {
      type.dequantize(blocks + first / size * static_cast<uint64_t>(type.block_bytes), block.data());
      const uint64_t skip = first % size, n = std::min(size - skip, out.size() / sizeof(float));
      std::memcpy(out.data(), block.data() + skip, n * sizeof(float));
      out = out.subspan(n * sizeof(float));
      first += n;
    }
  }

  std::vector<const GgmlType*> types_;  // of the manifest's tensors
};

}  // namespace

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

std::shared_ptr<const Checkpoint> open_gguf(const fs::path& path, std::shared_ptr<const MappedFile> file) {
  Parsed parsed = Reader(*file).read();
  return std::make_shared<GgufCheckpoint>(path, std::move(parsed), std::move(file));
}

}  // namespace taskvec::formats
