#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace taskvec::formats {

/// A range of elements against the same range of another tensor, compressed without loss.
/// The bit patterns, read as unsigned integers of the element's width, are subtracted modulo 2^width and zigzag-coded
/// (0, -1, 1, -2, ... become 0, 1, 2, 3, ...), so that a weight that moved a little is a small number whichever way it moved. All
/// lowest bytes come first, then all second ones, and so on: the upper planes are nearly empty. The planes are one zstd frame.
/// @param item          bytes per element: 1, 2, 4 or 8
/// @param base, target  equally long, a multiple of `item`; an empty base counts as zeros
std::vector<std::byte> compress_planes(int64_t item, std::span<const std::byte> base, std::span<const std::byte> target);

/// The inverse; the frame comes from a file and may hold anything. Nothing beyond `out` is ever allocated for its contents.
/// @param out     the target's bytes: as many as the frame must hold
/// @return        false when the frame is damaged or holds another number of bytes
[[nodiscard]] bool decompress_planes(int64_t item, std::span<const std::byte> base, std::span<const std::byte> compressed,
                                     std::span<std::byte> out);

}  // namespace taskvec::formats
