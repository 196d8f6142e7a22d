#pragma once

#include "taskvec/formats/checkpoint.h"

#include <optional>

namespace taskvec::formats {

/// How a task vector lies in a file of its own (docs/deltas.md has the layouts). Enumerators equal the names in files, in
/// capitals.
enum class DeltaKind {
  Dense,     ///< every difference
  Sparse,    ///< some differences with their positions; the others are zero
  Sign,      ///< the sign of every difference, and their mean magnitude
  Lossless,  ///< what turns the bits of the base into those of the fine-tuned checkpoint; no term of an expression
  Rank       ///< two factors of every matrix; what is no matrix is there in full
};

std::string_view name(DeltaKind kind);

/// What the metadata of a task vector's file say about it.
struct DeltaInfo {
  /// One of the two checkpoints that it lies between.
  struct End {
    std::string path, fingerprint;
  };
  DeltaKind kind = DeltaKind::Dense;
  End base, finetuned;
  std::string options;  ///< JSON: what was asked for
};

inline constexpr const char* kDeltaKey = "taskvec.delta";

/// nullopt when the checkpoint is no task vector's file.
/// @throws Error{Format | Unsupported} naming the file, when its metadata are not what taskvec writes
std::optional<DeltaInfo> delta_info(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata);
std::optional<DeltaInfo> delta_info(const Checkpoint& checkpoint);

/// The metadata that delta_info() reads.
std::map<std::string, std::string> delta_metadata(const DeltaInfo& info);

/// A .safetensors file whose metadata has kDeltaKey. Dense ones are themselves; of sparse, sign and rank ones the manifest shows
/// the dense tensors, made range by range; of lossless ones it shows what lies in the file (lossless.h reads it).
/// @param manifest  of the file as it lies there
/// @throws Error{Format} naming the file, the tensor and the rule: parts that are missing, sizes that do not fit, positions that
/// are not rising or outside of the tensor, a scale that is no magnitude
std::shared_ptr<const Checkpoint> open_delta(const std::filesystem::path& path, Manifest manifest,
                                             std::shared_ptr<const MappedFile> file);

/// The tensors of a sparse, sign or rank file are named after the dense one.
inline constexpr const char* kIndicesSuffix = ".indices";
inline constexpr const char* kValuesSuffix = ".values";
inline constexpr const char* kBitsSuffix = ".bits";
inline constexpr const char* kScaleSuffix = ".scale";
inline constexpr const char* kLeftSuffix = ".left";
inline constexpr const char* kRightSuffix = ".right";

/// Positions in tensors of up to 2^32 elements are U32, in larger ones U64.
inline Dtype index_dtype(int64_t numel) { return numel <= (int64_t{1} << 32) ? Dtype::U32 : Dtype::U64; }

}  // namespace taskvec::formats
