#include "taskvec/formats/checkpoint.h"

#include "taskvec/core/error.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/formats/fingerprint.h"

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the same hash, by the widest registers there are
#endif

#include <algorithm>

namespace taskvec::formats {

const TensorEntry* Manifest::find(std::string_view name) const {
  const auto found = index.find(name);
  return found == index.end() ? nullptr : &tensors[found->second];
}

int64_t Manifest::nbytes() const {
  int64_t total = 0;
  for (const auto& tensor : tensors) total += tensor.info.nbytes();
  return total;
}

Checkpoint::Checkpoint(std::filesystem::path path, Manifest manifest, std::vector<std::shared_ptr<const MappedFile>> files)
    : path_(std::move(path)), manifest_(std::move(manifest)), files_(std::move(files)) {
  int64_t total = 0;
  for (size_t i = 0; i < manifest_.tensors.size(); ++i) {
    const auto& [name, info, file, offset, as_is] = manifest_.tensors[i];
    manifest_.index.emplace(name, i);
    if (info.nbytes() > kMaxTensorBytes - total)
      fail(ErrorCode::Format, "{}: with tensor '{}' ({} {}) the tensors have more than {} bytes together", path_.string(), name,
           taskvec::name(info.dtype), to_string(info.shape), kMaxTensorBytes);
    total += info.nbytes();
  }
}

const TensorEntry& Checkpoint::entry(std::string_view name) const {
  if (const TensorEntry* found = manifest_.find(name)) return *found;
  std::vector<std::string> names;
  for (const auto& candidate : manifest_.tensors) names.push_back(candidate.name);
  fail(ErrorCode::NotFound, "{} has no tensor '{}'{}", path_.string(), name, did_you_mean(name, names));
}

MappedTensor Checkpoint::tensor(std::string_view name) const {
  const TensorEntry& found = entry(name);
  const auto size = static_cast<size_t>(found.info.nbytes());
  if (found.as_is) {
    const auto& file = files_[static_cast<size_t>(found.file)];
    return {{found.info, file->bytes().subspan(found.offset, size)}, file, nullptr};
  }
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  make(found, 0, *bytes);
  const std::span<const std::byte> view = *bytes;
  return {{found.info, view}, nullptr, std::move(bytes)};
}

void Checkpoint::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

void Checkpoint::make(const TensorEntry& entry, uint64_t, std::span<std::byte>) const {
  fail(ErrorCode::Unsupported, "{}: nothing makes tensor '{}'", path_.string(), entry.name);
}

TensorRange::TensorRange(const Checkpoint& checkpoint, const TensorEntry& entry, uint64_t offset, uint64_t size)
    : entry_(&entry), offset_(offset) {
  if (entry.as_is) {
    file_ = checkpoint.files_[static_cast<size_t>(entry.file)].get();
    bytes_ = file_->bytes().subspan(entry.offset + offset, size);
  } else {
    made_.resize(size);
    checkpoint.make(entry, offset, made_);
    bytes_ = made_;
  }
}

void TensorRange::populate(uint64_t begin, uint64_t size) const {
  if (file_ != nullptr) file_->populate(entry_->offset + begin, size);
}

void TensorRange::release(uint64_t begin, uint64_t size) const {
  if (file_ != nullptr) file_->release(entry_->offset + begin, size);
}

uint64_t hash_chunk(std::span<const std::byte> chunk) { return XXH3_64bits(chunk.data(), chunk.size()); }

std::string combine_hashes(std::vector<TensorHashes> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  Fingerprint fingerprint;
  for (const auto& tensor : tensors) {
    fingerprint.update(tensor.name)
        .update(std::string_view("\0", 1))
        .update(name(tensor.info.dtype))
        .update(to_string(tensor.info.shape));
    fingerprint.update(std::as_bytes(std::span(tensor.chunks)));
  }
  return fingerprint.hex();
}

std::string Checkpoint::fingerprint() const {
  if (const auto known = std::atomic_load(&fingerprint_)) return *known;
  std::vector<TensorHashes> hashes;
  std::vector<std::pair<size_t, int64_t>> work;  // tensor, chunk
  for (const auto& entry : manifest_.tensors) {
    const int64_t chunks = hash_chunks(entry.info.nbytes());
    for (int64_t chunk = 0; chunk < chunks; ++chunk) work.emplace_back(hashes.size(), chunk);
    hashes.push_back({entry.name, entry.info, std::vector<uint64_t>(static_cast<size_t>(chunks))});
  }
  parallel_for(static_cast<int64_t>(work.size()), [&](int64_t i) {
    const auto [index, chunk] = work[static_cast<size_t>(i)];
    const auto begin = static_cast<uint64_t>(chunk * kHashChunk);
    const auto& found = manifest_.tensors[index];
    const auto size = std::min<uint64_t>(kHashChunk, static_cast<uint64_t>(found.info.nbytes()) - begin);
    const TensorRange range(*this, found, begin, size);
    hashes[index].chunks[static_cast<size_t>(chunk)] = hash_chunk(range.bytes());
    range.release();
  });
  std::atomic_store(&fingerprint_, std::make_shared<const std::string>(combine_hashes(std::move(hashes))));
  return *std::atomic_load(&fingerprint_);
}

}  // namespace taskvec::formats
