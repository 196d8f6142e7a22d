#include "taskvec/eval/sweep_cache.h"

#include "taskvec/bridge/params.h"
#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace taskvec::eval {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "taskvec.sweep";
constexpr const char* kDigest = "taskvec.digest";
constexpr const char* kTensor = "outputs";
constexpr uint64_t kHeader = 1024;  // bytes of a file that are not its block, at most

/// Of a block and what it is for: a header alone proves nothing about the bytes behind it.
std::string digest(const std::string& key, const at::Tensor& block) {
  return Fingerprint().update(key).update(bridge::view(block).bytes).hex();
}

/// Blocks are named after fingerprints; nothing else in the folder is ours.
bool is_block(const fs::path& file) {
  const std::string name = file.stem().string();
  return file.extension() == ".safetensors" && name.size() == 32 &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

/// Whether nobody else can put anything into a folder, which is made where it is not there.
bool is_private(const fs::path& folder) {
  std::error_code error;
  if (folder.empty()) return false;
  fs::create_directories(folder.parent_path(), error);
  ::mkdir(folder.c_str(), 0700);
  struct stat status {};
  if (::lstat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) return false;
  if ((status.st_mode & 077) != 0 && ::chmod(folder.c_str(), 0700) != 0) return false;
  return true;
}

}  // namespace

SweepCache::SweepCache(fs::path folder, uint64_t budget) : folder_(std::move(folder)), budget_(budget) {}

fs::path SweepCache::file_of(const std::string& key) const { return folder_ / (key + ".safetensors"); }

std::optional<at::Tensor> SweepCache::find(const std::string& key, at::IntArrayRef shape) const {
  const fs::path file = file_of(key);
  std::error_code error;
  if (!is_private(folder_) || !fs::is_regular_file(fs::symlink_status(file, error))) return std::nullopt;
  try {
    const auto checkpoint = formats::open(file);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.find(kKey);
    if (found == metadata.end() || found->second != key) return std::nullopt;
    const at::Tensor block = bridge::load(*checkpoint).at(kTensor);
    if (block.sizes() != shape || block.scalar_type() != at::kFloat) return std::nullopt;
    at::Tensor own = block.clone();  // the file may go, or change, while the block is used
    const auto known = metadata.find(kDigest);
    if (known == metadata.end() || known->second != digest(key, own)) return std::nullopt;
    fs::last_write_time(file, fs::file_time_type::clock::now(), error);
    return own;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void SweepCache::make_room(uint64_t bytes) const {
  struct Block {
    fs::file_time_type used;
    uint64_t size;
    fs::path path;
  };
  std::vector<Block> blocks;
  uint64_t total = bytes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!is_block(entry.path()) || !fs::is_regular_file(entry.symlink_status(error))) continue;
    const uint64_t size = entry.file_size(error);
    if (error) continue;  // another process was faster
    blocks.push_back({entry.last_write_time(error), size, entry.path()});
    total += size;
  }
  std::sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.used < b.used; });
  for (size_t i = 0; i < blocks.size() && total > budget_; ++i) {
    fs::remove(blocks[i].path, error);
    total -= blocks[i].size;
  }
}

bool SweepCache::store(const std::string& key, const at::Tensor& block) {
  const uint64_t bytes = static_cast<uint64_t>(block.numel()) * sizeof(float) + kHeader;
  if (bytes > budget_) return false;
  if (!is_private(folder_)) return false;
  make_room(bytes);
  bridge::Params params;
  params.add(kTensor, block.contiguous());
  try {
    bridge::save(params, file_of(key), {{kKey, key}, {kDigest, digest(key, params.at(kTensor))}});
  } catch (const Error& failed) {
    if (failed.code() != ErrorCode::Io) throw;
    return false;
  }
  return true;
}

}  // namespace taskvec::eval
