#include "taskvec/edit/extract/differences.h"

#include "taskvec/edit/sources/align.h"
#include "taskvec/edit/sources/match_sources.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/kernels/statistics.h"

#include <algorithm>

namespace taskvec::edit {
namespace {

constexpr int64_t kBlock = 8192;  // elements; a block and its float64 differences stay in the cache
static_assert(kBlock % 8 == 0);

}  // namespace

Differences::Differences(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> finetuned,
                         bool allow_differing_integers, Vocabulary vocabulary) {
  plan_.source_names = {"finetuned", "base"};
  plan_.sources = {std::move(finetuned), std::move(base)};
  for (size_t s = 0; s < 2; ++s)
    if (plan_.sources[s]->manifest().delta)
      fail(ErrorCode::InvalidArgument, "{} is a task vector; a task vector is extracted from two models",
           plan_.sources[s]->path().string());
  const std::vector<std::string> paths{plan_.sources[0]->path().string(), plan_.sources[1]->path().string()};
  Matched matched = match_sources(std::move(plan_.sources), paths, /*base=*/1, vocabulary);
  plan_.sources = std::move(matched.sources);
  plan_.notes = std::move(matched.notes);
  for (const auto& entry : plan_.sources[0]->manifest().tensors) add(entry, allow_differing_integers);
  tiles_ = tiles_of(plan_);
  hashes_.emplace(checkpoints_of(plan_));
  hashed_.resize(tiles_.size());
  for (size_t t = 0, i = 0; t <= plan_.tensors.size(); ++t) {
    while (i < tiles_.size() && tiles_[i].tensor < t) ++i;
    first_tile_.push_back(i);
  }
}

void Differences::add(const formats::TensorEntry& entry, bool allow_differing_integers) {
  const std::string finetuned = plan_.sources[0]->path().string(), base = plan_.sources[1]->path().string();
  const formats::TensorEntry* other = plan_.sources[1]->manifest().find(entry.name);
  if (is_constant_buffer(entry) && is_float(entry.info.dtype) &&
      (other == nullptr || (other->info == entry.info && std::ranges::equal(plan_.sources[0]->tensor(entry.name).view.bytes,
                                                                            plan_.sources[1]->tensor(entry.name).view.bytes))))
    return;
  if (other == nullptr && !is_float(entry.info.dtype)) return;  // a task vector holds none, the base keeps what it has
  if (other == nullptr)
    fail(ErrorCode::InvalidArgument, "tensor '{}' is in {} but not in {}, so there is no difference; --lossless stores it whole",
         entry.name, finetuned, base);
  const auto &info = entry.info, &base_info = other->info;
  if (info.shape != base_info.shape || is_float(info.dtype) != is_float(base_info.dtype))
    fail(ErrorCode::InvalidArgument, "tensor '{}' is {} {} in {} and {} {} in {}; --lossless stores it whole", entry.name,
         name(info.dtype), taskvec::to_string(info.shape), finetuned, name(base_info.dtype), taskvec::to_string(base_info.shape),
         base);
  if (is_float(info.dtype)) {
    plan_.tensors.push_back({.name = entry.name, .info = {Dtype::F32, info.shape}, .terms = {{0, 1.0}, {1, -1.0}}});
    return;
  }
  if (!allow_differing_integers &&
      !std::ranges::equal(plan_.sources[0]->tensor(entry.name).view.bytes, plan_.sources[1]->tensor(entry.name).view.bytes))
    fail(ErrorCode::InvalidArgument,
         "{} tensor '{}' differs between {} and {}, and a task vector holds differences of floats only; --lossless keeps it, "
         "--allow-differing-integers leaves it as it is in the base",
         name(info.dtype), entry.name, finetuned, base);
}

void Differences::for_each_part(size_t index,
                                const std::function<void(int64_t, int64_t, std::span<const TileSource>)>& use) const {
  const Tile& tile = tiles_[index];
  const auto sources = sources_of(plan_, tile);
  for (const auto& source : sources) source.read_ahead();
  std::optional<TileHashes> hashes;
  if (hashed_[index] == 0) hashes.emplace(*hashes_, plan_, tile, sources);
  for (int64_t first = 0; first < tile.n; first += kBlock) {
    const int64_t n = std::min(kBlock, tile.n - first);
    if (hashes) hashes->add(first, n);
    use(first, n, sources);
  }
  hashed_[index] = 1;
  for (const auto& source : sources) source.release();
}

void Differences::for_each_block(size_t index, const std::function<void(int64_t, std::span<const double>)>& use) const {
  const Tile& tile = tiles_[index];
  std::vector<double> values(static_cast<size_t>(std::min(kBlock, tile.n)));
  for_each_part(index, [&](int64_t first, int64_t n, std::span<const TileSource> sources) {
    const auto block = std::span(values).first(static_cast<size_t>(n));
    exact(tile, sources, first, block);
    use(tile.begin + first, block);
  });
}

void Differences::exact(const Tile& tile, std::span<const TileSource> sources, int64_t first, std::span<double> values) const {
  const TensorPlan& tensor = plan_.tensors[tile.tensor];
  const TensorPlan wide = {.name = tensor.name, .info = {Dtype::F64, tensor.info.shape}, .terms = tensor.terms};
  auto* bytes = std::as_writable_bytes(values).data();
  const auto n = static_cast<int64_t>(values.size());
  compute(wide, sources, first, n, /*saturate=*/false, bytes);
  if (const int64_t bad = kernels::count_non_finite(Dtype::F64, bytes, n); bad > 0)
    fail(ErrorCode::Numeric, "tensor '{}': {} elements from {} on have a difference that is NaN or infinite; --lossless keeps it",
         tensor.name, bad, tile.begin + first);
}

EndFingerprints Differences::fingerprints() const {
  auto hex = hashes_->finish();
  return {.base = std::move(hex[1]), .finetuned = std::move(hex[0])};
}

void Differences::for_each_tile(size_t tensor, const std::function<void(size_t)>& body) const {
  const auto [first, end] = tile_range(tensor);
  parallel_for(static_cast<int64_t>(end - first), [&, begin = first](int64_t i) { body(begin + static_cast<size_t>(i)); });
}

void Differences::for_each_tensor(const std::function<void(size_t)>& body) const {
  std::vector<size_t> small, large;
  for (size_t t = 0; t < plan_.tensors.size(); ++t) (first_tile_[t + 1] - first_tile_[t] > 1 ? large : small).push_back(t);
  parallel_for(static_cast<int64_t>(small.size()), [&](int64_t i) { body(small[static_cast<size_t>(i)]); });
  for (const size_t t : large) body(t);
}

}  // namespace taskvec::edit
