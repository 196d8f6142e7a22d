#include "taskvec/formats/safetensors/safetensors.h"

#include "taskvec/core/checked.h"

#include <simdjson.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace taskvec::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian and are read in place");

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxDimensions = 64;

/// A header's JSON with the file's name for messages.
class HeaderParser {
 public:
  HeaderParser(const MappedFile& file, uint64_t data_begin) : file_(file), data_begin_(data_begin) {}

  SafetensorsHeader parse(std::string_view json) {
    simdjson::dom::parser parser(kMaxHeaderBytes + 1024);
    simdjson::dom::element root;
    if (const auto error = parser.parse(json.data(), json.size()).get(root))
      fail(ErrorCode::Format, "{}: the header is not valid JSON: {}", path(), simdjson::error_message(error));
    simdjson::dom::object object;
    if (root.get(object)) fail(ErrorCode::Format, "{}: the header is not a JSON object", path());
    for (const auto [key, value] : object) {
      if (key == "__metadata__") {
        parse_metadata(value);
      } else {
        header_.tensors.push_back(parse_tensor(std::string(key), value));
      }
    }
    check_layout();
    return std::move(header_);
  }

 private:
  std::string path() const { return file_.path().string(); }

  void parse_metadata(const simdjson::dom::element& value) {
    simdjson::dom::object object;
    if (value.get(object)) fail(ErrorCode::Format, "{}: '__metadata__' is not a JSON object", path());
    for (const auto [key, text] : object) {
      std::string_view string;
      if (text.get(string)) fail(ErrorCode::Format, "{}: '__metadata__' entry '{}' is not a string", path(), key);
      header_.metadata.emplace(key, string);
    }
  }

  TensorEntry parse_tensor(std::string name, const simdjson::dom::element& value) {
    if (name.find('\0') != name.npos) fail(ErrorCode::Format, "{}: the name of a tensor holds a NUL: '{}'", path(), name.c_str());
    simdjson::dom::array shape, offsets;
    std::string_view dtype;
    if (value["dtype"].get(dtype) || value["shape"].get(shape) || value["data_offsets"].get(offsets) || offsets.size() != 2)
      fail(ErrorCode::Format, "{}: tensor '{}' needs dtype, shape and two data_offsets", path(), name);
    const auto known = parse_dtype(dtype);
    if (dtype == "F4" || dtype == "F6_E2M3" || dtype == "F6_E3M2")
      fail(ErrorCode::Unsupported, "{}: tensor '{}' has dtype {}, whose elements share bytes; taskvec does not read it", path(),
           name, dtype);
    if (!known || taskvec::name(*known) != dtype)
      fail(ErrorCode::Unsupported, "{}: tensor '{}' has dtype '{}', which taskvec does not know", path(), name, dtype);

    TensorEntry entry;
    entry.info.dtype = *known;
    if (shape.size() > kMaxDimensions)
      fail(ErrorCode::Format, "{}: tensor '{}' has {} dimensions; at most {}", path(), name, shape.size(), kMaxDimensions);
    for (size_t i = 0; i < shape.size(); ++i) entry.info.shape.push_back(whole(shape.at(i), name, "shape"));
    const int64_t begin = whole(offsets.at(0), name, "data_offsets"), end = whole(offsets.at(1), name, "data_offsets");
    const int64_t data_size = static_cast<int64_t>(file_.bytes().size() - data_begin_);
    if (begin > end || end > data_size) {
      fail(ErrorCode::Format, "{}: tensor '{}' lies at bytes {} to {}, but the file holds {} bytes of data; it may be truncated",
           path(), name, begin, end, data_size);
    }
    int64_t expected = 0;
    try {
      expected = entry.info.nbytes();
    } catch (const Error& error) {
      fail(ErrorCode::Format, "{}: tensor '{}' with shape {}: {}", path(), name, to_string(entry.info.shape), error.what());
    }
    if (expected != end - begin) {
      fail(ErrorCode::Format, "{}: tensor '{}' ({} {}) needs {} bytes, but its data_offsets span {}", path(), name, dtype,
           to_string(entry.info.shape), expected, end - begin);
    }
    entry.offset = data_begin_ + static_cast<uint64_t>(begin);
    entry.name = std::move(name);
    return entry;
  }

  int64_t whole(const simdjson::simdjson_result<simdjson::dom::element>& value, std::string_view tensor,
                std::string_view what) const {
    int64_t number = 0;
    if (value.get(number) || number < 0)
      fail(ErrorCode::Format, "{}: tensor '{}': {} must be whole numbers from 0 to 2^63 - 1", path(), tensor, what);
    return number;
  }

  /// Names are unique; the tensors tile the data: no hole, no overlap, nothing behind the last.
  void check_layout() {
    auto& tensors = header_.tensors;
    std::vector<std::string_view> names;
    for (const auto& tensor : tensors) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      fail(ErrorCode::Format, "{}: tensor '{}' is there twice", path(), *twice);

    std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
      return std::pair(a.offset, a.info.nbytes()) < std::pair(b.offset, b.info.nbytes());
    });
    uint64_t end = data_begin_;
    for (const auto& tensor : tensors) {
      if (tensor.offset < end)
        fail(ErrorCode::Format, "{}: tensor '{}' overlaps the one before it by {} bytes", path(), tensor.name,
             end - tensor.offset);
      if (tensor.offset > end)
        fail(ErrorCode::Format, "{}: {} bytes before tensor '{}' belong to no tensor", path(), tensor.offset - end, tensor.name);
      end = tensor.offset + static_cast<uint64_t>(tensor.info.nbytes());
    }
    if (end != file_.bytes().size())
      fail(ErrorCode::Format, "{}: {} bytes behind the last tensor belong to no tensor", path(), file_.bytes().size() - end);
  }

  const MappedFile& file_;
  uint64_t data_begin_;
  SafetensorsHeader header_;
};

}  // namespace

SafetensorsHeader read_safetensors_header(const MappedFile& file) {
  const auto bytes = file.bytes();
  const std::string path = file.path().string();
  if (bytes.size() < kLengthBytes) fail(ErrorCode::Format, "{}: {} bytes are too few for a safetensors file", path, bytes.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes)
    fail(ErrorCode::Format, "{}: a header of {} bytes; at most {} are allowed", path, length, kMaxHeaderBytes);
  if (length > bytes.size() - kLengthBytes) {
    fail(ErrorCode::Format, "{}: the header should have {} bytes, but the file ends after {}; it is truncated", path, length,
         bytes.size() - kLengthBytes);
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (json.empty() || json.front() != '{') fail(ErrorCode::Format, "{}: the header does not start with '{{'", path);
  return HeaderParser(file, kLengthBytes + length).parse(json);
}

std::string make_safetensors_header(std::vector<TensorEntry>& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t offset = 0;
  // Appended, not assigned by key: ordered_json looks keys up one by one, which is quadratic in the number of tensors.
  std::string text = json.dump();
  text.pop_back();
  for (auto& tensor : tensors) {
    tensor.offset = offset;
    offset += static_cast<uint64_t>(tensor.info.nbytes());
    const nlohmann::ordered_json entry{
        {"dtype", name(tensor.info.dtype)}, {"shape", tensor.info.shape}, {"data_offsets", {tensor.offset, offset}}};
    if (text.size() > 1) text += ',';
    text += nlohmann::json(tensor.name).dump() + ':' + entry.dump();
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  if (length > kMaxHeaderBytes)
    fail(ErrorCode::InvalidArgument, "a safetensors header of {} bytes; at most {} are allowed", length, kMaxHeaderBytes);
  for (auto& tensor : tensors) tensor.offset += kLengthBytes + length;
  return std::string(reinterpret_cast<const char*>(&length), kLengthBytes) + text;
}

}  // namespace taskvec::formats
