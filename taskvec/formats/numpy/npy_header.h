#pragma once

#include "taskvec/core/tensor_view.h"

#include <string>

namespace taskvec::formats {

/// The largest header that is read: what version 1.0 can express.
constexpr uint64_t kMaxNpyHeader = 10 + 65535;

/// What precedes the elements of an array in numpy's format.
struct NpyHeader {
  TensorInfo info;
  bool fortran_order = false;  ///< elements are column-major
  size_t size = 0;             ///< of the header itself: the elements follow
};

/// The magic with which an array begins.
bool is_npy(std::span<const std::byte> bytes);

/// Reads the header of versions 1.0, 2.0 and 3.0: a Python literal, taken apart and never evaluated.
/// @param bytes  the array from its first byte on, or only a part of it that holds the header
/// @param where  file and member, for messages
/// @throws Error{Format}, Error{Unsupported} for object, structured, string and big-endian arrays, each by name
/// Source: numpy/lib/format.py (NEP 1).
NpyHeader read_npy_header(std::span<const std::byte> bytes, const std::string& where);

/// Whether numpy has a type for these elements (it has none for BF16 and 8-bit floats).
bool has_npy_dtype(Dtype dtype);

/// The header of an array in C order, padded so that its elements begin at a multiple of 64 bytes in the file.
/// @param position  of the header in that file
std::string make_npy_header(const TensorInfo& info, uint64_t position);

}  // namespace taskvec::formats
