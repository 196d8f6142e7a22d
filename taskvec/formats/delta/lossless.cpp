#include "taskvec/formats/delta/lossless.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/checked.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/delta/byte_planes.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/formats/folders/sidecars.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kMetadataKey = "taskvec.delta.metadata";
constexpr const char* kSidecarsKey = "taskvec.delta.sidecars";

class Reader {
 public:
  explicit Reader(const Checkpoint& delta) : delta_(delta) {}

  LosslessDelta read() const {
    LosslessDelta result;
    size_t parts = 0;
    for (auto& described : read_described_tensors(delta_.path(), delta_.manifest().metadata)) {
      result.tensors.push_back(read_tensor(std::move(described)));
      parts += result.tensors.back().chunks.empty() ? 0 : 2;
    }
    const json metadata = parsed(kMetadataKey, json::value_t::object);
    for (const auto& [key, value] : metadata.items()) {
      if (!value.is_string()) refuse(fmt::format("'{}': the value of '{}' is no text", kMetadataKey, key));
      result.metadata[key] = value.get<std::string>();
    }
    std::set<std::string> names;
    for (const auto& object : parsed(kSidecarsKey, json::value_t::array)) {
      result.sidecars.push_back(read_sidecar(object));
      if (!names.insert(result.sidecars.back().name).second)
        refuse(fmt::format("sidecar '{}' is there twice", result.sidecars.back().name));
      parts += result.sidecars.back().stored ? 1 : 0;
    }
    if (parts != delta_.manifest().tensors.size())
      refuse(fmt::format("{} parts are there, but {} are described", delta_.manifest().tensors.size(), parts));
    return result;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::Format, "{}: lossless task vector: {}", delta_.path().string(), why);
  }

  json parsed(const char* key, json::value_t type) const {
    const auto& metadata = delta_.manifest().metadata;
    const auto found = metadata.find(key);
    json result = found == metadata.end() ? json() : parse_bounded_json(found->second);
    if (result.type() != type) refuse(fmt::format("'{}' in its metadata is not what taskvec writes", key));
    return result;
  }

  /// A part of the file, which is mapped as it lies there.
  std::span<const std::byte> bytes(const TensorEntry& entry) const { return delta_.tensor(entry.name).view.bytes; }

  LosslessDelta::Tensor read_tensor(DescribedTensor described) const {
    LosslessDelta::Tensor tensor{std::move(described), {}, {}};
    const std::string& name = tensor.described.name;
    const TensorEntry* planes = delta_.manifest().find(name + kPlanesSuffix);
    const TensorEntry* table = delta_.manifest().find(name + kChunksSuffix);
    const int64_t size = tensor.described.info.nbytes(), chunks = hash_chunks(size);
    if (planes == nullptr && table == nullptr && (!tensor.described.whole || size == 0)) return tensor;
    if (planes == nullptr || table == nullptr)
      refuse(fmt::format("tensor '{}' has no part '{}{}'", name, name, planes == nullptr ? kPlanesSuffix : kChunksSuffix));
    if (table->info != TensorInfo{Dtype::U64, {chunks, 2}})
      refuse(fmt::format("'{}{}' is {} {}; expected U64 [{}, 2]", name, kChunksSuffix, taskvec::name(table->info.dtype),
                         to_string(table->info.shape), chunks));
    if (planes->info.dtype != Dtype::U8) refuse(fmt::format("'{}{}' is not U8", name, kPlanesSuffix));
    tensor.planes = bytes(*planes);
    const auto numbers = bytes(*table);
    const auto word = [&](int64_t i) {
      uint64_t value;
      std::memcpy(&value, numbers.data() + static_cast<size_t>(i) * sizeof value, sizeof value);
      return value;
    };
    uint64_t offset = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      const DeltaChunk chunk{offset, word(2 * i), word(2 * i + 1)};
      if (chunk.size > tensor.planes.size() - offset || (chunk.size == 0 && tensor.described.whole))
        refuse(fmt::format("chunk {} of tensor '{}' has {} bytes, but {} are left", i, name, chunk.size,
                           tensor.planes.size() - offset));
      offset += chunk.size;
      tensor.chunks.push_back(chunk);
    }
    if (offset != tensor.planes.size())
      refuse(fmt::format("the chunks of tensor '{}' have {} bytes, but '{}{}' has {}", name, offset, name, kPlanesSuffix,
                         tensor.planes.size()));
    return tensor;
  }

  DeltaSidecar read_sidecar(const json& object) const {
    const auto text = [&](const char* field) {
      if (!object.is_object() || !object.contains(field) || !object[field].is_string())
        refuse(fmt::format("a sidecar has no '{}'", field));
      return object[field].get<std::string>();
    };
    DeltaSidecar sidecar{text("name"), text("fingerprint")};
    const fs::path path(sidecar.name);
    if (sidecar.name.empty() || sidecar.name.front() == '.' || path.filename() != path || is_weights(path) ||
        sidecar.name.find('\0') != std::string::npos)
      refuse(fmt::format("'{}' is no name for a file beside the weights", sidecar.name));
    sidecar.stored = object.contains("stored") && object["stored"] == true;
    if (!sidecar.stored) return sidecar;
    const TensorEntry* entry = delta_.manifest().find(sidecar.name + kSidecarSuffix);
    if (entry == nullptr) refuse(fmt::format("sidecar '{}' has no part '{}{}'", sidecar.name, sidecar.name, kSidecarSuffix));
    sidecar.bytes = bytes(*entry);
    if (fingerprint(sidecar.bytes) != sidecar.fingerprint)
      refuse(fmt::format("sidecar '{}' is damaged: its fingerprint is another than the recorded {}", sidecar.name,
                         sidecar.fingerprint));
    return sidecar;
  }

  const Checkpoint& delta_;
};

class LosslessFile : public Checkpoint {
 public:
  using Checkpoint::Checkpoint;

  std::vector<std::string> damage() const override try {
    const LosslessDelta lossless = read_lossless(*this);
    std::vector<std::string> found;
    std::mutex mutex;
    for (const auto& tensor : lossless.tensors) {
      parallel_for(static_cast<int64_t>(tensor.chunks.size()), [&](int64_t i) {
        if (tensor.chunks[static_cast<size_t>(i)].size == 0) return;  // the base has these bytes
        const int64_t left = tensor.described.info.nbytes() - i * kHashChunk;
        const std::vector<std::byte> zeros(static_cast<size_t>(std::min(kHashChunk, left)));
        std::vector<std::byte> out(zeros.size());
        try {
          restore_chunk(*this, tensor, static_cast<size_t>(i), zeros, out);
        } catch (const Error& error) {
          const std::lock_guard lock(mutex);
          found.emplace_back(error.what());
        }
      });
    }
    std::sort(found.begin(), found.end());
    return found;
  } catch (const Error& error) {
    return {error.what()};
  }
};

}  // namespace

std::shared_ptr<const Checkpoint> open_lossless_delta(const fs::path& path, Manifest manifest,
                                                      std::shared_ptr<const MappedFile> file) {
  return std::make_shared<LosslessFile>(path, std::move(manifest), std::vector{std::move(file)});
}

std::map<std::string, std::string> lossless_metadata(const std::map<std::string, std::string>& finetuned,
                                                     const std::vector<DeltaSidecar>& sidecars) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& sidecar : sidecars)
    list.push_back({{"name", sidecar.name}, {"fingerprint", sidecar.fingerprint}, {"stored", sidecar.stored}});
  return {{kMetadataKey, json(finetuned).dump()}, {kSidecarsKey, list.dump(-1, ' ', false, json::error_handler_t::replace)}};
}

LosslessDelta read_lossless(const Checkpoint& delta) { return Reader(delta).read(); }

void restore_chunk(const Checkpoint& delta, const LosslessDelta::Tensor& tensor, size_t index, std::span<const std::byte> base,
                   std::span<std::byte> out) {
  const DeltaChunk& chunk = tensor.chunks[index];
  if (chunk.size == 0) {
    std::copy(base.begin(), base.end(), out.begin());
    return;
  }
  const auto frame = tensor.planes.subspan(chunk.offset, chunk.size);
  if (hash_chunk(frame) != chunk.checksum)
    fail(ErrorCode::Format,
         "{}: chunk {} of tensor '{}' is damaged: expected checksum {:016x}, got {:016x}; fetch the file again",
         delta.path().string(), index, tensor.described.name, chunk.checksum, hash_chunk(frame));
  const int64_t item = itemsize(tensor.described.info.dtype);
  if (!decompress_planes(item, tensor.described.whole ? std::span<const std::byte>() : base, frame, out))
    fail(ErrorCode::Format, "{}: chunk {} of tensor '{}' is no zstd frame of {} bytes", delta.path().string(), index,
         tensor.described.name, out.size());
}

}  // namespace taskvec::formats
