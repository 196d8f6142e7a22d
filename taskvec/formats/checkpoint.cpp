#include "taskvec/formats/checkpoint.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/fingerprint.h"

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

void TensorRange::read_ahead(uint64_t begin, uint64_t size) const {
  if (file_ != nullptr) file_->read_ahead(entry_->offset + begin, size);
}

void TensorRange::release(uint64_t begin, uint64_t size) const {
  if (file_ != nullptr) file_->release(entry_->offset + begin, size);
}

std::string Checkpoint::fingerprint() const {
  if (const auto known = std::atomic_load(&fingerprint_)) return *known;
  std::atomic_store(&fingerprint_, std::make_shared<const std::string>(PassingFingerprints({this}).finish().front()));
  return *std::atomic_load(&fingerprint_);
}

}  // namespace taskvec::formats
