#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/npy_header.h"

namespace taskvec::formats {

/// A lone .npy array; its tensor is named like the file, without the extension. Arrays in C order are mapped, those in Fortran
/// order are transposed as they are read.
/// @throws as read_npy_header(); Error{Format} when the array's bytes are not all there
std::shared_ptr<const Checkpoint> open_npy(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file);

}  // namespace taskvec::formats
