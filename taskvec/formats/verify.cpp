#include "taskvec/formats/verify.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/formats/folders/sidecars.h"
#include "taskvec/formats/safetensors/safetensors.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>
#include <set>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

/// The index file that a path stands for, empty where it stands for none.
fs::path index_of(const fs::path& path) {
  std::error_code error;
  if (path.filename().string().ends_with(".safetensors.index.json")) return path;
  const fs::path index = path / kIndex;
  return fs::exists(index, error) && !fs::exists(path / "model.safetensors", error) ? index : fs::path();
}

/// Files that the index does not name: left over, or forgotten in it.
void find_unused(const fs::path& index, std::vector<std::string>& problems) {
  std::set<std::string> shards, unused;
  for (const auto& [tensor, shard] : read_weight_map(index)) shards.insert(shard);
  for (const auto& entry : fs::directory_iterator(index.has_parent_path() ? index.parent_path() : fs::path(".")))
    if (entry.path().extension() == ".safetensors" && !shards.contains(entry.path().filename().string()))
      unused.insert(entry.path().filename().string());
  for (const auto& name : unused)
    problems.push_back(fmt::format("{} names no tensor of the file '{}' beside it", index.string(), name));
}

/// Other weights in the folder: another format's copy, shards that no index names.
std::vector<std::string> find_unread(const fs::path& folder, const Checkpoint& checkpoint) {
  std::set<std::string> read, unread;
  for (const auto& file : checkpoint.manifest().files) read.insert(file.filename().string());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_weights(entry.path()) && !name.ends_with(".json") && !read.contains(name)) unread.insert(name);
  }
  return {unread.begin(), unread.end()};
}

std::shared_ptr<const Checkpoint> open_collecting(const fs::path& path, std::vector<std::string>& problems) {
  try {
    const fs::path index = index_of(path);
    if (index.empty()) return open(path);
    auto checkpoint = open_sharded(path, index, {}, [&](ErrorCode, const std::string& what) { problems.push_back(what); });
    find_unused(index, problems);
    return checkpoint;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Format) throw;
    problems.emplace_back(error.what());
    return nullptr;
  }
}

struct Counts {
  std::atomic<int64_t> nan{0}, infinite{0};
};

void count(Dtype dtype, std::span<const std::byte> bytes, Counts& counts) {
  const int64_t n = static_cast<int64_t>(bytes.size()) / itemsize(dtype);
  if (!is_float(dtype)) return;
  const int64_t found = kernels::count_non_finite(dtype, bytes.data(), n);
  if (found == 0) return;
  std::vector<double> values(static_cast<size_t>(n));
  kernels::convert(dtype, bytes, Dtype::F64, std::as_writable_bytes(std::span(values)));
  const int64_t nan = std::count_if(values.begin(), values.end(), [](double value) { return std::isnan(value); });
  counts.nan += nan;
  counts.infinite += found - nan;
}

/// Hashes and counts in one pass. A tensor that cannot be made (it does not inflate, say) is a problem; a checkpoint with one has
/// no fingerprint.
void read_tensors(const Checkpoint& checkpoint, Verification& result) {
  constexpr uint64_t kStep = uint64_t{64} << 10;  // bytes that are hashed and counted while they are in the cache
  const auto& tensors = checkpoint.manifest().tensors;
  PassingFingerprints fingerprints({&checkpoint});
  std::vector<Counts> counts(tensors.size());
  std::map<size_t, std::string> broken;  // tensor, why
  std::mutex mutex;
  std::vector<std::pair<size_t, uint64_t>> work;  // tensor, offset of a chunk
  for (size_t t = 0; t < tensors.size(); ++t)
    for (int64_t chunk = 0; chunk < hash_chunks(tensors[t].info.nbytes()); ++chunk)
      work.emplace_back(t, static_cast<uint64_t>(chunk * kHashChunk));
  parallel_for(static_cast<int64_t>(work.size()), [&](int64_t i) {
    const auto [index, begin] = work[static_cast<size_t>(i)];
    const TensorEntry& entry = tensors[index];
    try {
      const TensorRange range(checkpoint, entry, begin,
                              std::min<uint64_t>(kHashChunk, static_cast<uint64_t>(entry.info.nbytes()) - begin));
      auto run = fingerprints.run(0, index, begin);
      for (auto left = range.bytes(); !left.empty();) {
        const auto step = left.first(std::min<size_t>(kStep, left.size()));
        run.add(step);
        count(entry.info.dtype, step, counts[index]);
        left = left.subspan(step.size());
      }
      range.release();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Format) throw;
      const std::lock_guard lock(mutex);
      broken.emplace(index, error.what());
    }
  });
  for (size_t i = 0; i < tensors.size(); ++i)
    result.tensors.push_back({tensors[i].name, tensors[i].info, counts[i].nan, counts[i].infinite});
  for (const auto& [index, what] : broken) result.problems.push_back(what);
  if (broken.empty()) result.fingerprint = fingerprints.finish().front();
}

}  // namespace

int64_t Verification::nbytes() const {
  int64_t total = 0;
  for (const auto& tensor : tensors) total += tensor.info.nbytes();
  return total;
}

Verification verify(const fs::path& path) {
  Verification result;
  const auto checkpoint = open_collecting(path, result.problems);
  if (checkpoint == nullptr) return result;
  result.format = checkpoint->manifest().format;
  result.files = checkpoint->manifest().files;
  if (std::error_code error; index_of(path).empty() && fs::is_directory(path, error))
    result.unread = find_unread(path, *checkpoint);
  for (auto& what : checkpoint->damage()) result.problems.push_back(std::move(what));
  read_tensors(*checkpoint, result);
  checkpoint->check_unchanged();
  for (const auto& tensor : result.tensors)
    if (tensor.nan + tensor.infinite > 0)
      result.problems.push_back(
          fmt::format("tensor '{}' holds {} NaN and {} infinite elements", tensor.name, tensor.nan, tensor.infinite));
  return result;
}

}  // namespace taskvec::formats
