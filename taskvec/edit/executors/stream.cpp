#include "taskvec/core/error.h"
#include "taskvec/core/progress.h"
#include "taskvec/edit/delta_base.h"
#include "taskvec/edit/executors/execute.h"
#include "taskvec/edit/executors/output.h"
#include "taskvec/edit/executors/sweep.h"
#include "taskvec/edit/provenance.h"
#include "taskvec/edit/sources/model_config.h"
#include "taskvec/formats/delta/delta.h"

#include <algorithm>
#include <map>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;

/// Output bytes that are handed to the disk at once: large enough to cost little, small enough to keep it busy.
constexpr uint64_t kFlushBlock = uint64_t{4} << 20;

formats::WrittenWeights weights_of(const Plan& plan) {
  formats::WrittenWeights weights;
  std::map<Dtype, int64_t> elements;
  for (const auto& tensor : plan.tensors) {
    if (is_float(tensor.info.dtype)) elements[tensor.info.dtype] += std::max<int64_t>(tensor.info.numel(), 1);
    if (plan.options.vocabulary != Vocabulary::Same && !weights.vocabulary && is_vocabulary(tensor.name) &&
        !is_output_layer(tensor.name) && tensor.info.shape.size() == 2)
      weights.vocabulary = tensor.info.shape[0];
  }
  const auto most =
      std::max_element(elements.begin(), elements.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != elements.end()) weights.dtype = most->first;
  weights.untied = plan.unties;
  weights.plain = std::ranges::all_of(plan.sources, [](const auto& source) { return source->manifest().codes.empty(); });
  return weights;
}

/// A sum of task vectors from the same base is one, and its file says so.
std::map<std::string, std::string> sum_of_deltas(const Plan& plan) {
  formats::DeltaInfo info{
      .kind = formats::DeltaKind::Dense, .base = {}, .finetuned = {plan.expression, std::string(32, '0')}, .options = "{}"};
  for (const auto& source : plan.sources) {
    const auto of = formats::delta_info(*source);
    if (!of || !source->manifest().delta) return {};
    if (info.base.fingerprint.empty()) info.base = of->base;
    if (of->base.fingerprint != info.base.fingerprint) return {};
  }
  for (const auto& tensor : plan.tensors)
    if (tensor.info.dtype != Dtype::F32 && tensor.info.dtype != Dtype::BF16) return {};
  return formats::delta_metadata(info);
}

formats::OutputLayout layout_of(const Plan& plan, formats::Output format) {
  const bool lone_file = format != formats::Output::Folder;
  formats::OutputLayout layout;
  layout.output = format;
  std::map<int, int> shards;  // those that have tensors, numbered without gaps
  for (const auto& tensor : plan.tensors) shards.emplace(lone_file ? 0 : tensor.shard, 0);
  int next = 0;
  for (auto& [shard, number] : shards) number = next++;
  for (const auto& tensor : plan.tensors)
    layout.tensors.push_back({tensor.name, tensor.info, shards.at(lone_file ? 0 : tensor.shard)});
  layout.metadata = provenance(plan, std::vector<std::string>(plan.sources.size(), std::string(32, '0')));
  if (format == formats::Output::Folder || format == formats::Output::Safetensors) layout.metadata.merge(sum_of_deltas(plan));
  layout.native_metadata = plan.sources[plan.base]->manifest().native_metadata;
  layout.sidecars = plan.sources[plan.base]->manifest().sidecars;
  layout.weights = weights_of(plan);
  return layout;
}

std::vector<Overflow> overflows_of(const Plan& plan, const SweepResult& swept) {
  std::vector<Overflow> overflows;
  for (const auto& [tensor, count] : swept.overflowed)
    overflows.push_back({plan.tensors[tensor].name, plan.tensors[tensor].info.dtype, count});
  if (!overflows.empty() && plan.options.on_overflow == OnOverflow::Error)
    fail(ErrorCode::Numeric,
         "{} elements of tensor '{}' are too large for {} ({} tensors have such); nothing was written; choose a wider dtype, or "
         "let them saturate",
         overflows[0].count, overflows[0].tensor, name(overflows[0].dtype), overflows.size());
  return overflows;
}

}  // namespace

Summary run(const Plan& plan, const fs::path& output, std::optional<formats::Output> format) {
  check_not_a_source(plan, output);
  const Progress clock("", 0, "");
  const Merges merges(plan);
  Progress progress("edit", plan.bytes_written(), "bytes");
  formats::CheckpointWriter writer(output, layout_of(plan, format ? *format : formats::output_of(output)));
  const SweepResult swept = sweep(plan, merges, [&](size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
    writer.write(tensor, offset, bytes);
    // Only a hint, so it does not matter that another thread may still be busy with an earlier part of the block.
    const uint64_t end = offset + bytes.size(), begin = (end - 1) / kFlushBlock * kFlushBlock;
    if (end % kFlushBlock == 0 || end == static_cast<uint64_t>(plan.tensors[tensor].info.nbytes()))
      writer.finished(tensor, begin, end - begin);
    progress.add(static_cast<int64_t>(bytes.size()));
  });
  for (const auto& source : plan.sources) source->check_unchanged();
  check_delta_bases(plan, [&](size_t source) { return swept.fingerprints[source]; });
  auto overflows = overflows_of(plan, swept);
  std::vector<NonFinite> non_finite;
  for (const auto& [tensor, total, given] : swept.non_finite_tensors)
    non_finite.push_back({plan.tensors[tensor].name, total, given});
  writer.patch_metadata(kSourcesKey, provenance(plan, swept.fingerprints).at(kSourcesKey));
  writer.commit();
  return {.tensors = static_cast<int64_t>(plan.tensors.size()),
          .bytes_read = plan.bytes_read(),
          .bytes_written = plan.bytes_written(),
          .seconds = clock.seconds(),
          .non_finite = swept.non_finite,
          .non_finite_tensors = std::move(non_finite),
          .overflows = std::move(overflows)};
}

}  // namespace taskvec::edit
