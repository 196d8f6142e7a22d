#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/files/spool_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/extract/extraction.h"
#include "taskvec/formats/delta/byte_planes.h"
#include "taskvec/formats/delta/lossless.h"
#include "taskvec/formats/fingerprint.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using formats::kHashChunk;

/// Chunks that are compressed side by side before they are spooled in order: what is held in memory.
constexpr size_t kBatch = 64;

/// A tensor of the fine-tuned checkpoint on its way.
struct Packed {
  const formats::TensorEntry* entry;
  const formats::TensorEntry* base;  ///< null where the base has none of this dtype and shape
  uint64_t spooled = 0, size = 0;    ///< where its planes lie in the spool
  std::vector<uint64_t> table{};     ///< size and checksum of every chunk

  bool stored() const { return base == nullptr ? entry->info.nbytes() > 0 : size > 0; }
};

class LosslessWriter {
 public:
  explicit LosslessWriter(const Extraction& extraction)
      : extraction_(extraction), spool_(extraction.output), hashes_({extraction.base.get(), extraction.finetuned.get()}) {
    for (const auto& entry : extraction.finetuned->manifest().tensors) {
      const auto* base = extraction.base->manifest().find(entry.name);
      tensors_.push_back({&entry, base != nullptr && base->info == entry.info ? base : nullptr});
    }
  }

  void compress() {
    std::vector<std::pair<size_t, int64_t>> chunks;
    for (size_t t = 0; t < tensors_.size(); ++t)
      for (int64_t c = 0; c < formats::hash_chunks(tensors_[t].entry->info.nbytes()); ++c) chunks.emplace_back(t, c);
    Progress progress("extract", extraction_.finetuned->manifest().nbytes(), "bytes");
    std::vector<std::vector<std::byte>> frames(kBatch);
    for (size_t begin = 0; begin < chunks.size(); begin += kBatch) {
      const size_t n = std::min(kBatch, chunks.size() - begin);
      parallel_for(static_cast<int64_t>(n), [&](int64_t i) {
        const auto [t, chunk] = chunks[begin + static_cast<size_t>(i)];
        frames[static_cast<size_t>(i)] = frame_of(tensors_[t], static_cast<uint64_t>(chunk));
        progress.add(kHashChunk);
      });
      for (size_t i = 0; i < n; ++i) append(tensors_[chunks[begin + i].first], frames[i]);
    }
  }

  void write() {
    formats::OutputLayout layout;
    std::vector<formats::DescribedTensor> described;
    for (const auto& tensor : tensors_) {
      described.push_back({tensor.entry->name, tensor.entry->info, tensor.entry->file, tensor.base == nullptr});
      if (!tensor.stored()) continue;
      const auto chunks = static_cast<int64_t>(tensor.table.size() / 2);
      layout.tensors.push_back({tensor.entry->name + formats::kChunksSuffix, {Dtype::U64, {chunks, 2}}, 0});
      layout.tensors.push_back(
          {tensor.entry->name + formats::kPlanesSuffix, {Dtype::U8, {static_cast<int64_t>(tensor.size)}}, 0});
      ++extraction_.summary.tensors;
      extraction_.summary.whole += tensor.base == nullptr ? 1 : 0;
    }
    const auto sidecars = add_sidecars(layout);
    layout.metadata = extraction_.metadata();
    layout.metadata[formats::kDescriptionsKey] = formats::describe_tensors(described);
    layout.metadata.merge(formats::lossless_metadata(extraction_.finetuned->manifest().metadata, sidecars));
    formats::CheckpointWriter writer(extraction_.output, layout);
    size_t part = 0;
    for (const auto& tensor : tensors_) {
      if (!tensor.stored()) continue;
      writer.write(part++, 0, std::as_bytes(std::span(tensor.table)));
      copy_planes(tensor, writer, part++);
    }
    for (const auto& contents : stored_sidecars_) writer.write(part++, 0, std::as_bytes(std::span(contents)));
    auto fingerprints = hashes_.finish();
    extraction_.finish(writer, {.base = std::move(fingerprints[0]), .finetuned = std::move(fingerprints[1])});
  }

 private:
  /// The chunk's compressed difference; empty where it is the same as the base's.
  std::vector<std::byte> frame_of(const Packed& tensor, uint64_t chunk) {
    const uint64_t offset = chunk * kHashChunk;
    const uint64_t size = std::min<uint64_t>(kHashChunk, static_cast<uint64_t>(tensor.entry->info.nbytes()) - offset);
    const int64_t item = itemsize(tensor.entry->info.dtype);
    const formats::TensorRange target(*extraction_.finetuned, *tensor.entry, offset, size);
    hash(1, *extraction_.finetuned, target, tensor.entry->name);
    std::vector<std::byte> frame;
    if (tensor.base == nullptr) {
      frame = formats::compress_planes(item, {}, target.bytes());
    } else {
      const formats::TensorRange base(*extraction_.base, *tensor.base, offset, size);
      hash(0, *extraction_.base, base, tensor.entry->name);
      if (std::memcmp(base.bytes().data(), target.bytes().data(), size) != 0)
        frame = formats::compress_planes(item, base.bytes(), target.bytes());
      base.release();
    }
    target.release();
    return frame;
  }

  void hash(size_t checkpoint, const formats::Checkpoint& source, const formats::TensorRange& range, const std::string& name) {
    hashes_.run(checkpoint, source.manifest().index.find(name)->second, range.offset()).add(range.bytes());
  }

  void append(Packed& tensor, const std::vector<std::byte>& frame) {
    if (tensor.table.empty()) tensor.spooled = spool_.size();
    tensor.table.push_back(frame.size());
    tensor.table.push_back(frame.empty() ? 0 : formats::hash_chunk(frame));
    tensor.size += frame.size();
    spool_.append(frame);
  }

  void copy_planes(const Packed& tensor, formats::CheckpointWriter& writer, size_t part) const {
    std::vector<std::byte> buffer;
    for (uint64_t offset = 0; offset < tensor.size; offset += kHashChunk) {
      buffer.resize(std::min<uint64_t>(kHashChunk, tensor.size - offset));
      spool_.read(tensor.spooled + offset, buffer);
      writer.write(part, offset, buffer);
      writer.finished(part, offset, buffer.size());
    }
  }

  /// Files beside the weights: by name alone where the base has the same, else whole.
  std::vector<formats::DeltaSidecar> add_sidecars(formats::OutputLayout& layout) {
    std::map<std::string, std::string> of_base;
    for (const auto& file : extraction_.base->manifest().sidecars)
      of_base[file.filename().string()] = fingerprint(read_file(file));
    std::vector<formats::DeltaSidecar> sidecars;
    for (const auto& file : extraction_.finetuned->manifest().sidecars) {
      std::string contents = read_file(file);
      formats::DeltaSidecar sidecar{file.filename().string(), fingerprint(contents)};
      const auto same = of_base.find(sidecar.name);
      sidecar.stored = same == of_base.end() || same->second != sidecar.fingerprint;
      if (sidecar.stored) {
        layout.tensors.push_back(
            {sidecar.name + formats::kSidecarSuffix, {Dtype::U8, {static_cast<int64_t>(contents.size())}}, 0});
        stored_sidecars_.push_back(std::move(contents));
      }
      sidecars.push_back(std::move(sidecar));
    }
    return sidecars;
  }

  const Extraction& extraction_;
  SpoolFile spool_;
  formats::PassingFingerprints hashes_;  // of the base and the fine-tuned checkpoint
  std::vector<Packed> tensors_;
  std::vector<std::string> stored_sidecars_;
};

}  // namespace

void extract_lossless(const Extraction& extraction) {
  for (const auto& end : {extraction.base, extraction.finetuned})
    if (end->manifest().delta || formats::delta_info(*end))
      fail(ErrorCode::InvalidArgument, "{} is a task vector; a task vector is extracted from two models", end->path().string());
  extraction.summary.dense_bytes = extraction.finetuned->manifest().nbytes();
  LosslessWriter writer(extraction);
  writer.compress();
  writer.write();
}

}  // namespace taskvec::edit
