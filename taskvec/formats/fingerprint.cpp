#include "taskvec/formats/fingerprint.h"

#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the same hash, by the widest registers there are
#endif

#include <algorithm>
#include <new>

namespace taskvec::formats {

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

struct PassingFingerprints::Source {
  const Checkpoint* checkpoint;
  std::vector<TensorHashes> hashes;
  std::vector<std::vector<char>> known;  // which chunks of a tensor have their hash; no bits, as threads write beside each other
};

struct PassingFingerprints::Run::State {
  XXH3_state_t* hash = XXH3_createState();
  State() {
    if (hash == nullptr) throw std::bad_alloc();
    XXH3_64bits_reset(hash);
  }
  ~State() { XXH3_freeState(hash); }
};

void PassingFingerprints::Run::Free::operator()(State* state) const { delete state; }

void PassingFingerprints::Run::add(std::span<const std::byte> bytes) {
  const auto total = static_cast<uint64_t>(hashes_->info.nbytes());
  while (!bytes.empty()) {
    const uint64_t chunk = offset_ / kHashChunk, end = std::min<uint64_t>(total, (chunk + 1) * kHashChunk);
    const auto part = bytes.first(std::min<size_t>(bytes.size(), end - offset_));
    const bool whole = state_ == nullptr && offset_ % kHashChunk == 0 && offset_ + part.size() == end;
    if (!whole) {
      if (state_ == nullptr) state_.reset(new State);
      XXH3_64bits_update(state_->hash, part.data(), part.size());
    }
    offset_ += part.size();
    bytes = bytes.subspan(part.size());
    if (offset_ < end) continue;
    hashes_->chunks[chunk] = whole ? hash_chunk(part) : XXH3_64bits_digest(state_->hash);
    (*known_)[chunk] = 1;
    state_.reset();
  }
}

PassingFingerprints::PassingFingerprints(std::vector<const Checkpoint*> checkpoints) {
  for (const auto* checkpoint : checkpoints) {
    Source& source = sources_.emplace_back(Source{checkpoint, {}, {}});
    for (const auto& entry : checkpoint->manifest().tensors) {
      const auto chunks = static_cast<size_t>(hash_chunks(entry.info.nbytes()));
      source.hashes.push_back({entry.name, entry.info, std::vector<uint64_t>(chunks)});
      source.known.emplace_back(chunks);
    }
  }
}

PassingFingerprints::~PassingFingerprints() = default;

PassingFingerprints::Run PassingFingerprints::run(size_t checkpoint, size_t tensor, uint64_t offset) {
  Source& source = sources_[checkpoint];
  return {source.hashes[tensor], source.known[tensor], offset};
}

std::vector<std::string> PassingFingerprints::finish() {
  struct Unread {
    size_t source, tensor, chunk;
  };
  std::vector<Unread> unread;
  for (size_t s = 0; s < sources_.size(); ++s)
    for (size_t t = 0; t < sources_[s].known.size(); ++t)
      for (size_t chunk = 0; chunk < sources_[s].known[t].size(); ++chunk)
        if (sources_[s].known[t][chunk] == 0) unread.push_back({s, t, chunk});
  parallel_for(static_cast<int64_t>(unread.size()), [&](int64_t i) {
    const auto [s, t, chunk] = unread[static_cast<size_t>(i)];
    Source& source = sources_[s];
    const TensorEntry& entry = source.checkpoint->manifest().tensors[t];
    const uint64_t offset = chunk * kHashChunk;
    const TensorRange range(*source.checkpoint, entry, offset,
                            std::min<uint64_t>(kHashChunk, static_cast<uint64_t>(entry.info.nbytes()) - offset));
    source.hashes[t].chunks[chunk] = hash_chunk(range.bytes());
    range.release();
  });
  std::vector<std::string> fingerprints;
  for (auto& source : sources_) fingerprints.push_back(combine_hashes(std::move(source.hashes)));
  return fingerprints;
}

}  // namespace taskvec::formats
