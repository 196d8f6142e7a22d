#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// The magic with which a GGUF file begins.
bool is_gguf(std::span<const std::byte> bytes);

/// A GGUF file of version 2 or 3: float and integer tensors as they lie there, quantised ones as F32. Shapes are in the order of
/// numpy and torch (the reverse of GGUF's). Metadata is given as text, arrays as a summary; what text cannot restore is kept in
/// Manifest::native_metadata.
/// Source: docs/gguf.md of the ggml repository; limits as in ggml's gguf.cpp.
/// @throws Error{Format} for a broken rule, Error{Unsupported} for versions, types and split files that taskvec does not read
std::shared_ptr<const Checkpoint> open_gguf(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file);

/// Types of metadata values, as numbered on disk.
enum class GgufValue : uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

constexpr uint64_t kGgufAlignment = 32;     ///< where general.alignment does not say another
constexpr size_t kGgufMaxDimensions = 4;    ///< GGML_MAX_DIMS
constexpr size_t kGgufMaxTensorName = 64;   ///< GGML_MAX_NAME, with the terminating NUL that ggml adds
constexpr size_t kGgufMaxKeyBytes = 65535;  ///< of a metadata key

}  // namespace taskvec::formats
