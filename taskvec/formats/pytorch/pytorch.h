#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/pytorch/pickle.h"
#include "taskvec/formats/zip.h"

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace taskvec::formats {

/// Whether an archive is one of torch.save or torch.jit.save: everything in one folder with data.pkl.
bool is_pytorch(std::span<const ZipEntry> entries);

/// A checkpoint of PyTorch, read only: an archive (torch.save since 1.6, TorchScript) or a file of older versions, whose pickle
/// is read as data. Nothing in the file is imported or called; Manifest::metadata tells under "pytorch.globals" what loading it
/// in Python would have, and under "pytorch.path" where in the object the model was. Contiguous tensors of storages that are not
/// compressed are views of the file; the others are gathered or inflated on demand.
/// @throws as read_torch_zip() and read_torch_legacy(); Error{Format} for a tensor that does not fit into its storage
std::shared_ptr<const Checkpoint> open_pytorch(const std::filesystem::path& path, std::shared_ptr<const MappedFile> file,
                                               std::vector<std::filesystem::path> sidecars);

/// The files that a pytorch_model.bin.index.json names, as one checkpoint.
std::shared_ptr<const Checkpoint> open_pytorch_sharded(const std::filesystem::path& path, const std::filesystem::path& index,
                                                       std::vector<std::filesystem::path> sidecars);

}  // namespace taskvec::formats
