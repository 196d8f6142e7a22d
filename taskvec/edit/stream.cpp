#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/check_output.h"
#include "taskvec/edit/execute.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/sweep.h"

#include <algorithm>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;

/// Output bytes that are handed to the disk at once: large enough to cost little, small enough to keep it busy.
constexpr uint64_t kFlushBlock = uint64_t{4} << 20;

formats::OutputLayout layout_of(const Plan& plan, bool lone_file) {
  formats::OutputLayout layout;
  std::map<int, int> shards;  // those that have tensors, numbered without gaps
  for (const auto& tensor : plan.tensors) shards.emplace(lone_file ? 0 : tensor.shard, 0);
  int next = 0;
  for (auto& [shard, number] : shards) number = next++;
  for (const auto& tensor : plan.tensors)
    layout.tensors.push_back({tensor.name, tensor.info, shards.at(lone_file ? 0 : tensor.shard)});
  layout.metadata = provenance(plan, std::vector<std::string>(plan.sources.size(), std::string(32, '0')));
  layout.sidecars = plan.sources[plan.base]->manifest().sidecars;
  return layout;
}

}  // namespace

void check_output(const Plan& plan, const fs::path& output) {
  std::error_code error;
  const auto same = [&](const fs::path& a, const fs::path& b) { return fs::equivalent(a, b, error); };
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    const auto& files = plan.sources[s]->manifest().files;
    const bool replaced =
        same(plan.sources[s]->path(), output) || std::any_of(files.begin(), files.end(), [&](const fs::path& file) {
          return same(file, output) || same(file.has_parent_path() ? file.parent_path() : ".", output);
        });
    if (replaced)
      fail(ErrorCode::InvalidArgument, "output {} would replace source '{}'; write to another path", output.string(),
           plan.source_names[s]);
  }
}

Summary run(const Plan& plan, const fs::path& output) {
  check_output(plan, output);
  Progress progress("edit", plan.bytes_written(), "bytes");
  formats::CheckpointWriter writer(output, layout_of(plan, output.extension() == ".safetensors"));
  const SweepResult swept = sweep(plan, [&](size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
    writer.write(tensor, offset, bytes);
    // Only a hint, so it does not matter that another thread may still be busy with an earlier part of the block.
    const uint64_t end = offset + bytes.size(), begin = (end - 1) / kFlushBlock * kFlushBlock;
    if (end % kFlushBlock == 0 || end == static_cast<uint64_t>(plan.tensors[tensor].info.nbytes()))
      writer.finished(tensor, begin, end - begin);
    progress.add(static_cast<int64_t>(bytes.size()));
  });
  for (const auto& source : plan.sources) source->check_unchanged();
  writer.patch_metadata(kSourcesKey, provenance(plan, swept.fingerprints).at(kSourcesKey));
  writer.commit();
  return {.tensors = static_cast<int64_t>(plan.tensors.size()),
          .bytes_read = plan.bytes_read(),
          .bytes_written = plan.bytes_written(),
          .seconds = progress.seconds(),
          .non_finite = swept.non_finite,
          .overflowed = swept.overflowed};
}

}  // namespace taskvec::edit
