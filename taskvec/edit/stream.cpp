#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/execute.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/tile.h"
#include "taskvec/kernels/statistics.h"

#include <atomic>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;

/// Writing over a source would change it while it is read.
void check_output(const Plan& plan, const fs::path& output) {
  std::error_code error;
  for (size_t s = 0; s < plan.sources.size(); ++s) {
    if (fs::equivalent(plan.sources[s]->path(), output, error))
      fail(ErrorCode::InvalidArgument, "output {} is source '{}'; write to another path", output.string(), plan.source_names[s]);
  }
}

formats::OutputLayout layout_of(const Plan& plan) {
  formats::OutputLayout layout;
  for (const auto& tensor : plan.tensors) layout.tensors.push_back({tensor.name, tensor.info, tensor.shard});
  layout.metadata = provenance(plan);
  layout.sidecars = plan.sources[plan.base]->manifest().sidecars;
  return layout;
}

}  // namespace

Summary run(const Plan& plan, const fs::path& output) {
  check_output(plan, output);
  Summary summary;
  summary.tensors = static_cast<int64_t>(plan.tensors.size());
  summary.bytes_read = plan.bytes_read();
  summary.bytes_written = plan.bytes_written();
  Progress progress("edit", summary.bytes_written, "bytes");
  auto layout = layout_of(plan);
  if (output.extension() == ".safetensors")
    for (auto& tensor : layout.tensors) tensor.shard = 0;
  formats::CheckpointWriter writer(output, std::move(layout));
  for_each_tile(plan, [&](size_t index, int64_t begin, int64_t n) {
    const auto& tensor = plan.tensors[index];
    const int64_t item = itemsize(tensor.info.dtype);
    compute_tile(plan, tensor, begin, n, writer.tensor(index).data() + begin * item);
    writer.finished(index, static_cast<uint64_t>(begin * item), static_cast<uint64_t>(n * item));
    progress.add(n * item);
  });
  for (const auto& source : plan.sources) source->check_unchanged();
  writer.commit();
  summary.seconds = progress.seconds();
  return summary;
}

}  // namespace taskvec::edit
