#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace taskvec::eval {

/// Blocks of a linearised network's outputs, kept on disk between runs: a pass that was interrupted goes on behind its last
/// block, and another search with the same vectors makes no pass. One safetensors file a block, named after the fingerprint of
/// everything that the block depends on, with a digest of its bytes, in a folder of the user's own (mode 0700). It is only a
/// cache: what is damaged, was made for something else or can have been put there by another user counts as absent, and where
/// nothing can be written nothing is kept. Threads: one at a time; processes may share the folder.
class SweepCache {
 public:
  /// @param folder  need not exist
  /// @param budget  bytes that all blocks together may take; the ones that were used longest ago go first
  SweepCache(std::filesystem::path folder, uint64_t budget);

  uint64_t budget() const { return budget_; }
  /// @param shape  of the block; one of another shape or dtype is none
  std::optional<at::Tensor> find(const std::string& key, at::IntArrayRef shape) const;
  /// @param block  float32. @return whether it is kept
  bool store(const std::string& key, const at::Tensor& block);

 private:
  std::filesystem::path file_of(const std::string& key) const;
  void make_room(uint64_t bytes) const;

  std::filesystem::path folder_;
  uint64_t budget_;
};

}  // namespace taskvec::eval
