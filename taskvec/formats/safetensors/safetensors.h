#pragma once

#include "taskvec/core/error.h"
#include "taskvec/formats/checkpoint.h"

#include <functional>
#include <string>
#include <vector>

namespace taskvec::formats {

/// The reference implementation's bound on the JSON header.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// The header of one safetensors file, checked: every rule of the format holds when this returns. Names the file and the rule
/// otherwise.
struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  ///< in order of their bytes; offsets from the start of the file
  std::map<std::string, std::string> metadata;
};

/// @throws Error{Format} for a broken rule, Error{Unsupported} for a dtype that taskvec lacks
SafetensorsHeader read_safetensors_header(const MappedFile& file);

/// The eight length bytes and the JSON, padded with spaces to a multiple of eight, for tensors laid out one after the other.
/// @param tensors  name, dtype and shape in on-disk order; their offsets are filled in, relative to the start of the file
std::string make_safetensors_header(std::vector<TensorEntry>& tensors, const std::map<std::string, std::string>& metadata);

/// A lone .safetensors file. @param sidecars  of the folder it stands for
std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file,
                                                   std::vector<std::filesystem::path> sidecars);

/// Shard file of each tensor, from an index. Shards are names of files beside it. @throws Error{Format}
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& index);

/// The files that a model.safetensors.index.json names, as one checkpoint.
std::shared_ptr<const Checkpoint> open_sharded(const std::filesystem::path& path, const std::filesystem::path& index,
                                               std::vector<std::filesystem::path> sidecars);

/// The same, telling `report` of each rule that index and shards break, instead of throwing at the first. Where it returns, the
/// checkpoint holds what could be read.
using ProblemReport = std::function<void(ErrorCode code, const std::string& problem)>;
std::shared_ptr<const Checkpoint> open_sharded(const std::filesystem::path& path, const std::filesystem::path& index,
                                               std::vector<std::filesystem::path> sidecars, const ProblemReport& report);

}  // namespace taskvec::formats
