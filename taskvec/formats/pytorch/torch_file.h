#pragma once

#include "taskvec/formats/pytorch/torch_object.h"
#include "taskvec/formats/zip.h"

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace taskvec::formats {

/// The bytes behind tensors.
struct TorchStorage {
  uint64_t offset = 0;  ///< in the file
  uint64_t nbytes = 0;
  std::optional<ZipEntry> deflated{};  ///< then the bytes at `offset` are compressed
};

/// A file that torch.save or torch.jit.save wrote.
struct TorchFile {
  std::string format;  ///< "PyTorch zip", "TorchScript" or "PyTorch legacy"
  TorchObject object;
  std::map<std::string, TorchStorage, std::less<>> storages;  ///< by key
};

/// An archive (PyTorch since 1.6; TorchScript since 1.4).
/// @param entries  of the file, from read_zip_directory()
/// @throws as read_torch_object(), and Error{Unsupported} for a big-endian one
TorchFile read_torch_zip(const MappedFile& file, std::span<const ZipEntry> entries);

/// What torch.save wrote before 1.6: pickles, then the storages one behind the other.
/// @throws as read_torch_zip(), and Error{Unsupported} for a pickle of another program
TorchFile read_torch_legacy(const MappedFile& file);

}  // namespace taskvec::formats
