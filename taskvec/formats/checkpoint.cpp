#include "taskvec/formats/checkpoint.h"

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
    const auto mapped = tensor(hashes[index].name);
    const auto begin = static_cast<size_t>(chunk * kHashChunk);
    const size_t size = std::min<size_t>(kHashChunk, mapped.view.bytes.size() - begin);
    hashes[index].chunks[static_cast<size_t>(chunk)] = hash_chunk(mapped.view.bytes.subspan(begin, size));
    const auto offset = static_cast<uint64_t>(mapped.view.bytes.data() - mapped.file->bytes().data());
    mapped.file->release(offset + begin, size);
  });
  std::atomic_store(&fingerprint_, std::make_shared<const std::string>(combine_hashes(std::move(hashes))));
  return *std::atomic_load(&fingerprint_);
}

}  // namespace taskvec::formats
