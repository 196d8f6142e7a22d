#include "taskvec/formats/delta/delta.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/formats/delta/lossless.h"
#include "taskvec/formats/delta/packed_delta.h"

#include <array>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array<std::string_view, 5> kKinds{"dense", "sparse", "sign", "lossless", "rank"};
constexpr const char* kBaseKey = "taskvec.delta.base";
constexpr const char* kFinetunedKey = "taskvec.delta.finetuned";
constexpr const char* kOptionsKey = "taskvec.delta.options";

DeltaInfo::End read_end(const fs::path& path, const std::map<std::string, std::string>& metadata, const char* key) {
  const auto found = metadata.find(key);
  const json value = found == metadata.end() ? json() : parse_bounded_json(found->second);
  const auto text = [&](const char* field) {
    if (!value.is_object() || !value.contains(field) || !value[field].is_string())
      fail(ErrorCode::Format, "{}: '{}' in its metadata has no '{}'", path.string(), key, field);
    return value[field].get<std::string>();
  };
  return {text("path"), text("fingerprint")};
}

// Paths may hold any bytes; what is no UTF-8 is replaced rather than refused.
std::string end_text(const DeltaInfo::End& end) {
  return nlohmann::ordered_json{{"path", end.path}, {"fingerprint", end.fingerprint}}.dump(-1, ' ', false,
                                                                                           json::error_handler_t::replace);
}

}  // namespace

std::string_view name(DeltaKind kind) { return kKinds[static_cast<size_t>(kind)]; }

std::optional<DeltaInfo> delta_info(const fs::path& path, const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find(kDeltaKey);
  if (found == metadata.end()) return std::nullopt;
  DeltaInfo info;
  size_t kind = 0;
  while (kind < kKinds.size() && kKinds[kind] != found->second) ++kind;
  if (kind == kKinds.size())
    fail(ErrorCode::Unsupported, "{} is a task vector of kind '{}'; this version knows dense, sparse, sign, lossless and rank",
         path.string(), found->second);
  info.kind = static_cast<DeltaKind>(kind);
  info.base = read_end(path, metadata, kBaseKey);
  info.finetuned = read_end(path, metadata, kFinetunedKey);
  if (const auto options = metadata.find(kOptionsKey); options != metadata.end()) info.options = options->second;
  return info;
}

std::optional<DeltaInfo> delta_info(const Checkpoint& checkpoint) {
  return delta_info(checkpoint.path(), checkpoint.manifest().metadata);
}

std::map<std::string, std::string> delta_metadata(const DeltaInfo& info) {
  return {{kDeltaKey, std::string(name(info.kind))},
          {kBaseKey, end_text(info.base)},
          {kFinetunedKey, end_text(info.finetuned)},
          {kOptionsKey, info.options}};
}

std::shared_ptr<const Checkpoint> open_delta(const fs::path& path, Manifest manifest, std::shared_ptr<const MappedFile> file) {
  const DeltaKind kind = delta_info(path, manifest.metadata)->kind;
  manifest.format = fmt::format("taskvec delta ({})", name(kind));
  switch (kind) {
    case DeltaKind::Sparse: return open_sparse_delta(path, std::move(manifest), std::move(file));
    case DeltaKind::Sign: return open_sign_delta(path, std::move(manifest), std::move(file));
    case DeltaKind::Rank: return open_rank_delta(path, std::move(manifest), std::move(file));
    case DeltaKind::Dense: manifest.delta = true; break;
    case DeltaKind::Lossless: return open_lossless_delta(path, std::move(manifest), std::move(file));
  }
  return std::make_shared<Checkpoint>(path, std::move(manifest), std::vector{std::move(file)});
}

}  // namespace taskvec::formats
