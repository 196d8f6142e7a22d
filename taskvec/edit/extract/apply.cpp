#include "taskvec/edit/extract/apply.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/executors/output.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/delta/lossless.h"
#include "taskvec/formats/fingerprint.h"

#include <algorithm>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using formats::kHashChunk;

class Restorer {
 public:
  Restorer(const formats::Checkpoint& base, const formats::Checkpoint& delta)
      : base_(base), delta_(delta), lossless_(formats::read_lossless(delta)) {
    for (const auto& tensor : lossless_.tensors) {
      const auto& described = tensor.described;
      const formats::TensorEntry* entry = described.whole ? nullptr : base.manifest().find(described.name);
      if (!described.whole && (entry == nullptr || entry->info != described.info))
        fail(ErrorCode::InvalidArgument, "{} changes tensor '{}' ({} {}), which {} does not have like that",
             delta.path().string(), described.name, name(described.info.dtype), taskvec::to_string(described.info.shape),
             base.path().string());
      from_.push_back(entry);
    }
  }

  Applied restore(const std::string& expected, const fs::path& output) const {
    formats::CheckpointWriter writer(output, layout(output));
    std::vector<formats::TensorHashes> hashes;
    std::vector<std::pair<size_t, size_t>> chunks;
    Applied applied;
    for (size_t t = 0; t < lossless_.tensors.size(); ++t) {
      const auto& [entry, parts, planes] = lossless_.tensors[t];
      const auto n = static_cast<size_t>(formats::hash_chunks(entry.info.nbytes()));
      hashes.push_back({entry.name, entry.info, std::vector<uint64_t>(n)});
      for (size_t chunk = 0; chunk < n; ++chunk) chunks.emplace_back(t, chunk);
      applied.summary.bytes_written += entry.info.nbytes();
    }
    Progress progress("apply", applied.summary.bytes_written, "bytes");
    parallel_for(static_cast<int64_t>(chunks.size()), [&](int64_t i) {
      const auto [t, chunk] = chunks[static_cast<size_t>(i)];
      const auto bytes = restore(t, chunk);
      hashes[t].chunks[chunk] = formats::hash_chunk(bytes);
      writer.write(t, chunk * kHashChunk, bytes);
      writer.finished(t, chunk * kHashChunk, bytes.size());
      progress.add(static_cast<int64_t>(bytes.size()));
    });
    applied.fingerprint = formats::combine_hashes(std::move(hashes));
    if (applied.fingerprint != expected)
      fail(ErrorCode::Format, "{}: the restored checkpoint has fingerprint {}, but {} is recorded; nothing was written",
           delta_.path().string(), applied.fingerprint, expected);
    base_.check_unchanged();
    delta_.check_unchanged();
    writer.commit();
    applied.summary.tensors = static_cast<int64_t>(lossless_.tensors.size());
    applied.summary.bytes_read = base_.manifest().nbytes() + delta_.manifest().nbytes();
    applied.summary.seconds = progress.seconds();
    return applied;
  }

 private:
  formats::OutputLayout layout(const fs::path& output) const {
    const bool lone = is_lone_safetensors(output);
    formats::OutputLayout layout;
    std::map<int, int> shards;  // those that have tensors, numbered without gaps
    for (const auto& tensor : lossless_.tensors) shards.emplace(lone ? 0 : tensor.described.shard, 0);
    int next = 0;
    for (auto& [shard, number] : shards) number = next++;
    for (const auto& tensor : lossless_.tensors)
      layout.tensors.push_back({tensor.described.name, tensor.described.info, shards.at(lone ? 0 : tensor.described.shard)});
    layout.metadata = lossless_.metadata;
    for (const auto& sidecar : lossless_.sidecars) {
      if (sidecar.stored) {
        layout.contents.emplace_back(sidecar.name, sidecar.bytes);
      } else if (!lone) {
        layout.sidecars.push_back(sidecar_of_base(sidecar));
      }
    }
    return layout;
  }

  fs::path sidecar_of_base(const formats::DeltaSidecar& sidecar) const {
    for (const auto& file : base_.manifest().sidecars)
      if (file.filename() == sidecar.name && fingerprint(read_file(file)) == sidecar.fingerprint) return file;
    fail(ErrorCode::NotFound,
         "{} takes '{}' from the base, but {} has no such file with fingerprint {}; -o OUT.safetensors needs none",
         delta_.path().string(), sidecar.name, base_.path().string(), sidecar.fingerprint);
  }

  std::vector<std::byte> restore(size_t t, size_t chunk) const {
    const auto& tensor = lossless_.tensors[t];
    const uint64_t offset = chunk * kHashChunk;
    const uint64_t size = std::min<uint64_t>(kHashChunk, static_cast<uint64_t>(tensor.described.info.nbytes()) - offset);
    std::vector<std::byte> out(size);
    if (from_[t] == nullptr) {
      formats::restore_chunk(delta_, tensor, chunk, {}, out);
      return out;
    }
    const formats::TensorRange base(base_, *from_[t], offset, size);
    if (tensor.chunks.empty()) {
      std::ranges::copy(base.bytes(), out.begin());
    } else {
      formats::restore_chunk(delta_, tensor, chunk, base.bytes(), out);
    }
    base.release();
    return out;
  }

  const formats::Checkpoint& base_;
  const formats::Checkpoint& delta_;
  formats::LosslessDelta lossless_;
  std::vector<const formats::TensorEntry*> from_;  // the base's tensor, null for whole ones
};

}  // namespace

Applied apply(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> task_vector,
              double scale, bool any_base, const fs::path& output) {
  const auto info = formats::delta_info(*task_vector);
  if (!info)
    fail(ErrorCode::InvalidArgument, "{} is no task vector; {}", task_vector->path().string(),
         formats::delta_info(*base) ? fmt::format("{} is one: the base comes first, `taskvec apply {} {} -o OUT`",
                                                  base->path().string(), task_vector->path().string(), base->path().string())
                                    : "`taskvec extract BASE FT -o TV` makes one");
  if (info->kind != formats::DeltaKind::Lossless) {
    const PlanOptions options{.coefficients = {{"scale", scale}}, .base = "base", .any_base = any_base};
    return {run(plan(parse("base + $scale*tv"), {{"base", base}, {"tv", task_vector}}, options), output), ""};
  }
  if (scale != 1)
    fail(ErrorCode::InvalidArgument, "{} is a lossless task vector, which cannot be scaled; leave out --scale",
         task_vector->path().string());
  Plan ends;
  ends.source_names = {"base", "tv"};
  ends.sources = {base, task_vector};
  check_not_a_source(ends, output);
  if (const std::string found = base->fingerprint(); found != info->base.fingerprint && !any_base)
    fail(ErrorCode::InvalidArgument,
         "{} was made from a base with fingerprint {} ({}), but {} has {}; --any-base applies it all the same",
         task_vector->path().string(), info->base.fingerprint, info->base.path, base->path().string(), found);
  return Restorer(*base, *task_vector).restore(info->finetuned.fingerprint, output);
}

}  // namespace taskvec::edit
