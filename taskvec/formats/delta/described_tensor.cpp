#include "taskvec/formats/delta/described_tensor.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/formats/checkpoint.h"

#include <set>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxDimensions = 64;
constexpr int64_t kMaxShards = 100'000;

class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {}

  DescribedTensor read(const json& object) const {
    DescribedTensor tensor;
    tensor.name = text(object, "name", "?");
    const std::string dtype = text(object, "dtype", tensor.name);
    const auto known = parse_dtype(dtype);
    if (!known || name(*known) != dtype) refuse(tensor.name, fmt::format("dtype '{}' is unknown", dtype));
    tensor.info.dtype = *known;
    if (!object.contains("shape") || !object["shape"].is_array() || object["shape"].size() > kMaxDimensions)
      refuse(tensor.name, "no shape of at most 64 dimensions");
    for (const auto& dimension : object["shape"]) tensor.info.shape.push_back(whole_number(dimension, tensor.name));
    try {
      static_cast<void>(tensor.info.nbytes());
    } catch (const Error& error) {
      refuse(tensor.name, error.what());
    }
    if (object.contains("shard")) tensor.shard = static_cast<int>(whole_number(object["shard"], tensor.name, kMaxShards));
    tensor.whole = object.contains("whole") && object["whole"] == true;
    return tensor;
  }

  [[noreturn]] void refuse(const std::string& tensor, const std::string& why) const {
    fail(ErrorCode::Format, "{}: '{}' in its metadata: tensor '{}': {}", path_.string(), kDescriptionsKey, tensor, why);
  }

 private:
  std::string text(const json& object, const char* field, const std::string& tensor) const {
    if (!object.is_object() || !object.contains(field) || !object[field].is_string())
      refuse(tensor, fmt::format("no '{}'", field));
    return object[field].get<std::string>();
  }

  int64_t whole_number(const json& value, const std::string& tensor, int64_t limit = INT64_MAX) const {
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(limit)) ||
        (!value.is_number_unsigned() && value.get<int64_t>() < 0))
      refuse(tensor, fmt::format("{} is no whole number from 0 to {}", value.dump(), limit));
    return value.get<int64_t>();
  }

  const fs::path& path_;
};

}  // namespace

std::string describe_tensors(const std::vector<DescribedTensor>& tensors) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& tensor : tensors) {
    nlohmann::ordered_json object{{"name", tensor.name}, {"dtype", name(tensor.info.dtype)}, {"shape", tensor.info.shape}};
    if (tensor.shard != 0) object["shard"] = tensor.shard;
    if (tensor.whole) object["whole"] = true;
    list.push_back(std::move(object));
  }
  return list.dump();
}

std::vector<DescribedTensor> read_described_tensors(const fs::path& path, const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find(kDescriptionsKey);
  const json list = found == metadata.end() ? json() : parse_bounded_json(found->second);
  if (!list.is_array()) fail(ErrorCode::Format, "{}: its metadata have no list '{}'", path.string(), kDescriptionsKey);
  const Reader reader(path);
  std::vector<DescribedTensor> tensors;
  std::set<std::string> names;
  int64_t total = 0;
  for (const auto& object : list) {
    tensors.push_back(reader.read(object));
    const int64_t size = tensors.back().info.nbytes();
    if (size > kMaxTensorBytes - total)
      reader.refuse(tensors.back().name, fmt::format("{} bytes; all tensors together may have {}", size, kMaxTensorBytes));
    total += size;
    if (!names.insert(tensors.back().name).second) reader.refuse(tensors.back().name, "it is there twice");
  }
  return tensors;
}

}  // namespace taskvec::formats
