#include "taskvec/eval/sweep_cache.h"

#include "taskvec/bridge/params.h"
#include "taskvec/core/error.h"

#include <algorithm>
#include <vector>

namespace taskvec::eval {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "taskvec.sweep";
constexpr const char* kTensor = "outputs";
constexpr uint64_t kHeader = 1024;  // bytes of a file that are not its block, at most

}  // namespace

SweepCache::SweepCache(fs::path folder, uint64_t budget) : folder_(std::move(folder)), budget_(budget) {}

fs::path SweepCache::file_of(const std::string& key) const { return folder_ / (key + ".safetensors"); }

std::optional<at::Tensor> SweepCache::find(const std::string& key, at::IntArrayRef shape) const {
  const fs::path file = file_of(key);
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  try {
    const auto checkpoint = formats::open(file);
    const auto& metadata = checkpoint->manifest().metadata;
    const auto found = metadata.find(kKey);
    if (found == metadata.end() || found->second != key) return std::nullopt;
    const at::Tensor block = bridge::load(*checkpoint).at(kTensor);
    if (block.sizes() != shape || block.scalar_type() != at::kFloat) return std::nullopt;
    fs::last_write_time(file, fs::file_time_type::clock::now(), error);
    return block.clone();  // the file may go while the block is used
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
    if (entry.path().extension() != ".safetensors") continue;
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
  std::error_code error;
  fs::create_directories(folder_, error);
  make_room(bytes);
  bridge::Params params;
  params.add(kTensor, block);
  try {
    bridge::save(params, file_of(key), {{kKey, key}});
  } catch (const Error& failed) {
    if (failed.code() != ErrorCode::Io) throw;
    return false;
  }
  return true;
}

}  // namespace taskvec::eval
