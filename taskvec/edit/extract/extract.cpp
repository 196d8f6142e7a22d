#include "taskvec/edit/extract/extract.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/executors/output.h"
#include "taskvec/edit/extract/extraction.h"
#include "taskvec/formats/delta/described_tensor.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/statistics.h"

#include <nlohmann/json.hpp>

#include <array>
#include <cmath>

namespace taskvec::edit {
namespace {

namespace fs = std::filesystem;
using formats::DeltaKind;

void check(const ExtractOptions& options) {
  if (options.dtype != Dtype::F32 && options.dtype != Dtype::BF16)
    fail(ErrorCode::InvalidArgument, "a task vector is written as F32 or BF16, not as {}", name(options.dtype));
  if (options.kind == DeltaKind::Rank && options.rank < 1)
    fail(ErrorCode::InvalidArgument, "a rank of {}; expected at least 1", options.rank);
  if (!(options.density > 0 && options.density <= 1))
    fail(ErrorCode::InvalidArgument, "a density of {}; expected a share above 0 and at most 1", options.density);
}

std::string options_text(const ExtractOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (options.kind == DeltaKind::Dense || options.kind == DeltaKind::Sparse) json["dtype"] = name(options.dtype);
  if (options.kind == DeltaKind::Sparse) {
    json["density"] = options.density;
    json["keep"] = options.random ? "random" : "largest";
    if (options.random) json["seed"] = options.seed;
  }
  if (options.kind == DeltaKind::Rank) {
    json["rank"] = options.rank;
    json["seed"] = options.seed;
  }
  if (options.allow_differing_integers) json["allow_differing_integers"] = true;
  return json.dump();
}

[[noreturn]] void fail_too_large(const std::string& tensor, Dtype dtype) {
  fail(ErrorCode::Numeric, "tensor '{}': a difference is too large for {}; --lossless keeps it", tensor, name(dtype));
}

/// One tile of differences as `dtype`, by the rules of an edit: `finetuned - base` gives the same bytes.
std::vector<std::byte> stored_tile(const Differences& differences, size_t index, Dtype dtype, Measure& measure) {
  const Tile& tile = differences.tiles()[index];
  const TensorPlan& tensor = differences.tensors()[tile.tensor];
  const TensorPlan as_stored = {.name = tensor.name, .info = {dtype, tensor.info.shape}, .terms = tensor.terms};
  const auto item = static_cast<size_t>(itemsize(dtype));
  std::vector<std::byte> stored(static_cast<size_t>(tile.n) * item);
  differences.for_each_part(index, [&](int64_t first, int64_t n, std::span<const TileSource> sources) {
    std::byte* out = stored.data() + static_cast<size_t>(first) * item;
    compute(as_stored, sources, first, n, /*saturate=*/false, out);
    if (kernels::count_non_finite(dtype, out, n) > 0) {
      std::vector<double> values(static_cast<size_t>(n));
      differences.exact(tile, sources, first, values);  // says so when it is not the dtype's fault
      fail_too_large(tensor.name, dtype);
    }
    const auto &finetuned = sources[0], &base = sources[1];
    measure.add(kernels::residual(finetuned.dtype(), finetuned.data(first), base.dtype(), base.data(first), dtype, out, n));
  });
  return stored;
}

void extract_dense(const Extraction& extraction, const Differences& differences) {
  formats::OutputLayout layout;
  const Dtype dtype = extraction.options.dtype;
  for (const auto& tensor : differences.tensors()) layout.tensors.push_back({tensor.name, {dtype, tensor.info.shape}, 0});
  layout.metadata = extraction.metadata();
  formats::CheckpointWriter writer(extraction.output, layout);
  Progress progress("extract", extraction.summary.dense_bytes, "bytes");
  std::vector<Measure> measures(differences.tiles().size());
  parallel_for(static_cast<int64_t>(measures.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    const Tile& tile = differences.tiles()[index];
    const std::vector<std::byte> stored = stored_tile(differences, index, dtype, measures[index]);
    const uint64_t offset = static_cast<uint64_t>(tile.begin) * static_cast<uint64_t>(itemsize(dtype));
    writer.write(tile.tensor, offset, stored);
    writer.finished(tile.tensor, offset, stored.size());
    progress.add(4 * tile.n);
  });
  extraction.set_error(measures);
  extraction.finish(writer, differences.fingerprints());
}

/// How what is stored differs from the exact values.
kernels::Difference difference(std::span<const double> exact, Dtype dtype, std::span<const std::byte> stored) {
  return kernels::difference(Dtype::F64, std::as_bytes(exact).data(), dtype, stored.data(), static_cast<int64_t>(exact.size()));
}

/// The signs of one tile.
kernels::Magnitudes write_signs(const Differences& differences, size_t index, formats::CheckpointWriter& writer) {
  const Tile& tile = differences.tiles()[index];
  kernels::Magnitudes sums;
  std::vector<std::byte> signs(static_cast<size_t>(tile.n / 8 + (tile.n % 8 != 0 ? 1 : 0)));
  differences.for_each_block(index, [&](int64_t first, std::span<const double> values) {
    kernels::negative_bits(values, std::span(signs).subspan(static_cast<size_t>((first - tile.begin) / 8)));
    sums.add(kernels::magnitudes(values));
  });
  writer.write(2 * tile.tensor, static_cast<uint64_t>(tile.begin / 8), signs);
  return sums;
}

/// The mean magnitude m of a tensor. The error is Σ (|d| - m)² = Σ d² - 2 m Σ |d| + n m², so that one pass is enough.
Measure write_scale(const Differences& differences, size_t t, const kernels::Magnitudes& sums,
                    formats::CheckpointWriter& writer) {
  const auto n = static_cast<double>(differences.tensors()[t].info.numel());
  std::vector<std::byte> scale;
  Measure unused;
  store_values(differences.tensors()[t].name, std::array{n == 0 ? 0.0 : sums.sum_abs / n}, 1, Dtype::F32, scale, unused);
  writer.write(2 * t + 1, 0, scale);
  double m = 0;
  kernels::convert(Dtype::F32, scale, Dtype::F64, std::as_writable_bytes(std::span(&m, 1)));
  return {.error = std::max(0.0, sums.sum_squares - 2 * m * sums.sum_abs + n * m * m), .norm = sums.sum_squares};
}

void extract_sign(const Extraction& extraction, const Differences& differences) {
  formats::OutputLayout layout;
  std::vector<formats::DescribedTensor> described;
  for (const auto& tensor : differences.tensors()) {
    const int64_t n = tensor.info.numel();
    layout.tensors.push_back({tensor.name + formats::kBitsSuffix, {Dtype::U8, {n / 8 + (n % 8 != 0 ? 1 : 0)}}, 0});
    layout.tensors.push_back({tensor.name + formats::kScaleSuffix, {Dtype::F32, {}}, 0});
    described.push_back({tensor.name, {Dtype::F32, tensor.info.shape}});
  }
  layout.metadata = extraction.metadata();
  layout.metadata[formats::kDescriptionsKey] = formats::describe_tensors(described);
  formats::CheckpointWriter writer(extraction.output, layout);
  Progress progress("extract", extraction.summary.dense_bytes, "bytes");
  std::vector<kernels::Magnitudes> tiles(differences.tiles().size());
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    tiles[index] = write_signs(differences, index, writer);
    progress.add(4 * differences.tiles()[index].n);
  });
  std::vector<Measure> measures(differences.tensors().size());
  for (size_t t = 0; t < measures.size(); ++t) {
    kernels::Magnitudes sums;
    for (auto [i, end] = differences.tile_range(t); i < end; ++i) sums.add(tiles[i]);
    measures[t] = write_scale(differences, t, sums, writer);
  }
  extraction.set_error(measures);
  extraction.finish(writer, differences.fingerprints());
}

}  // namespace

void Extraction::finish(formats::CheckpointWriter& writer, const EndFingerprints& fingerprints) const {
  base->check_unchanged();
  finetuned->check_unchanged();
  summary.base_fingerprint = fingerprints.base;
  summary.finetuned_fingerprint = fingerprints.finetuned;
  formats::DeltaInfo known = info;
  known.base.fingerprint = fingerprints.base;
  known.finetuned.fingerprint = fingerprints.finetuned;
  for (const auto& [key, value] : formats::delta_metadata(known)) writer.patch_metadata(key, value);
  writer.commit();
}

void Extraction::set_error(const std::vector<Measure>& measures) const {
  Measure total;
  for (const auto& measure : measures) {
    total.error += measure.error;
    total.norm += measure.norm;
  }
  summary.relative_error = total.norm == 0 ? 0 : std::sqrt(total.error / total.norm);
}

void store_values(const std::string& tensor, std::span<const double> values, double scale, Dtype dtype,
                  std::vector<std::byte>& out, Measure& measure) {
  std::vector<double> scaled;
  if (scale != 1)
    for (const double value : values) scaled.push_back(value * scale);
  out.resize(values.size() * static_cast<size_t>(itemsize(dtype)));
  kernels::convert(Dtype::F64, std::as_bytes(scale == 1 ? values : std::span<const double>(scaled)), dtype, out);
  const kernels::Difference rounding = difference(values, dtype, out);
  if (rounding.non_finite > 0) fail_too_large(tensor, dtype);
  measure.add(rounding);
}

ExtractSummary extract(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> finetuned,
                       const ExtractOptions& options, const fs::path& output) {
  check(options);
  Plan ends;
  ends.source_names = {"base", "finetuned"};
  ends.sources = {base, finetuned};
  check_not_a_source(ends, output);
  const bool lone = is_lone_safetensors(output);
  Progress clock("extract", 0, "");
  ExtractSummary summary;
  const std::string unknown(32, '0');
  const Extraction extraction{
      base,
      finetuned,
      options,
      output,
      {options.kind, {base->path().string(), unknown}, {finetuned->path().string(), unknown}, options_text(options)},
      summary};
  if (options.kind == DeltaKind::Lossless) {
    extract_lossless(extraction);
  } else {
    const Differences differences(base, finetuned, options.allow_differing_integers, options.vocabulary);
    summary.notes = differences.plan().notes;
    summary.tensors = static_cast<int64_t>(differences.tensors().size());
    if (summary.tensors == 0)
      fail(ErrorCode::InvalidArgument, "{} and {} have no float tensor to subtract: the task vector would be empty",
           finetuned->path().string(), base->path().string());
    for (const auto& tensor : differences.tensors()) summary.dense_bytes += 4 * tensor.info.numel();
    if (options.kind == DeltaKind::Dense) extract_dense(extraction, differences);
    if (options.kind == DeltaKind::Sparse) extract_sparse(extraction, differences);
    if (options.kind == DeltaKind::Sign) extract_sign(extraction, differences);
    if (options.kind == DeltaKind::Rank) extract_rank(extraction, differences);
  }
  summary.bytes = static_cast<int64_t>(fs::file_size(lone ? output : output / "model.safetensors"));
  summary.seconds = clock.seconds();
  return summary;
}

}  // namespace taskvec::edit
