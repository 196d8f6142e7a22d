#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// Task vectors whose dense tensors are made from packed ones. @throws as open_delta(), which calls them.
std::shared_ptr<const Checkpoint> open_sparse_delta(const std::filesystem::path& path, Manifest manifest,
                                                    std::shared_ptr<const MappedFile> file);
std::shared_ptr<const Checkpoint> open_sign_delta(const std::filesystem::path& path, Manifest manifest,
                                                  std::shared_ptr<const MappedFile> file);
std::shared_ptr<const Checkpoint> open_rank_delta(const std::filesystem::path& path, Manifest manifest,
                                                  std::shared_ptr<const MappedFile> file);

}  // namespace taskvec::formats
