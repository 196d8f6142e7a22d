#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/numpy/npy_header.h"
#include "taskvec/formats/zip.h"

namespace taskvec::formats {

/// Whether a zip archive holds nothing but .npy arrays.
bool is_npz(std::span<const ZipEntry> members);

/// An archive of arrays; a tensor is named like its member, without ".npy". Arrays that are stored in C order are mapped; those
/// in Fortran order are transposed as they are read; deflated ones are inflated, the last few of them kept in memory. The
/// archive's comment is the metadata where it is a JSON object of strings, as taskvec writes it. Source: numpy.savez,
/// numpy.savez_compressed.
/// @throws as read_npy_header() and read_zip_directory(); Error{Format} when an array's bytes are not all there
std::shared_ptr<const Checkpoint> open_npz(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file);

/// A lone .npy array; its tensor is named like the file, without the extension. Arrays in C order are mapped, those in Fortran
/// order are transposed as they are read.
/// @throws as read_npy_header(); Error{Format} when the array's bytes are not all there
std::shared_ptr<const Checkpoint> open_npy(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file);

}  // namespace taskvec::formats
