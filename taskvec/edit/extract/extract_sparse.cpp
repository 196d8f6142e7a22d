#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/extract/extraction.h"
#include "taskvec/formats/delta/described_tensor.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/kth_magnitude.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

namespace taskvec::edit {
namespace {

/// Magnitudes as float32 bits, whose order is that of the magnitudes.
class MagnitudeBits {
 public:
  std::span<const uint32_t> of(std::span<const double> values) {
    bits_.resize(values.size());
    kernels::convert(Dtype::F64, std::as_bytes(values), Dtype::F32, std::as_writable_bytes(std::span(bits_)));
    for (uint32_t& bits : bits_) bits &= INT32_MAX;
    return bits_;
  }

 private:
  std::vector<uint32_t> bits_;
};

/// Keeps every magnitude above `bits`, and of those equal to it the next `ties`.
class KeepLargest {
 public:
  KeepLargest(uint32_t bits, int64_t ties) : bits_(bits), ties_(ties) {}
  uint32_t bits() const { return bits_; }
  int64_t ties() const { return ties_; }

  /// Calls decide(i, kept) for every element of a block.
  template <typename Decide>
  void operator()(int64_t, std::span<const double> values, const Decide& decide) {
    const auto magnitudes = magnitudes_.of(values);
    for (size_t i = 0; i < magnitudes.size(); ++i) {
      bool kept = magnitudes[i] > bits_;
      if (magnitudes[i] == bits_) [[unlikely]]
        kept = ties_-- > 0;
      decide(i, kept);
    }
  }

 private:
  uint32_t bits_;
  int64_t ties_;
  MagnitudeBits magnitudes_;
};

/// Keeps an element where its 32 random bits are below a threshold.
class KeepRandom {
 public:
  KeepRandom(uint64_t seed, const std::string& tensor, uint64_t threshold) : random_(seed, tensor), threshold_(threshold) {}

  /// Calls decide(i, kept) for elements [first, first + n) of the tensor; `first` is a multiple of 4.
  template <typename Decide>
  void choose(int64_t first, size_t n, const Decide& decide) const {
    for (size_t i = 0; i < n; i += 4) {  // one block of Philox has four words
      const auto words = random_.block((static_cast<uint64_t>(first) + i) / 4);
      for (size_t k = 0; k < std::min<size_t>(4, n - i); ++k) decide(i + k, words[k] < threshold_);
    }
  }
  template <typename Decide>
  void operator()(int64_t first, std::span<const double> values, const Decide& decide) const {
    choose(first, values.size(), decide);
  }

 private:
  Philox random_;
  uint64_t threshold_;
};

/// The k largest magnitudes of a tensor, exactly.
KeepLargest find_largest(const Differences& differences, size_t tensor, int64_t k) {
  kernels::KthMagnitude kth(differences.tensors()[tensor].info.numel(), k, /*sample=*/false);
  std::mutex mutex;
  while (!kth.known()) {
    differences.for_each_tile(tensor, [&](size_t i) {
      auto counts = kth.no_counts();
      std::vector<float> narrow;
      differences.for_each_block(i, [&](int64_t, std::span<const double> values) {
        narrow.resize(values.size());
        kernels::convert(Dtype::F64, std::as_bytes(values), Dtype::F32, std::as_writable_bytes(std::span(narrow)));
        kth.count(narrow, counts);
      });
      const std::lock_guard lock(mutex);
      kth.take(counts);
    });
    kth.end_pass();
  }
  return {kth.bits(), kth.equal_wanted()};
}

class SparseWriter {
 public:
  SparseWriter(const Extraction& extraction, const Differences& differences, const std::vector<int64_t>& kept, double scale)
      : differences_(differences),
        dtype_(extraction.options.dtype),
        scale_(scale),
        measures_(differences.tiles().size()),
        writer_(extraction.output, layout(extraction, differences, kept)) {}

  /// The elements of a tile that `keep` chooses. @param begin  how many of the tensor are kept before it
  template <typename Keep>
  void write(size_t index, int64_t begin, const Keep& keep) {
    const int64_t n = differences_.tensors()[differences_.tiles()[index].tensor].info.numel();
    formats::index_dtype(n) == Dtype::U32 ? write<uint32_t>(index, begin, keep) : write<uint64_t>(index, begin, keep);
  }

  void finish(const Extraction& extraction) {
    extraction.set_error(measures_);
    extraction.finish(writer_, differences_.fingerprints());
  }

 private:
  template <typename Position, typename Keep>
  void write(size_t index, int64_t begin, Keep keep) {
    const Tile& tile = differences_.tiles()[index];
    const auto& tensor = differences_.tensors()[tile.tensor];
    std::vector<Position> positions;
    std::vector<double> chosen, dropped;
    std::vector<std::byte> stored;
    auto offset = static_cast<uint64_t>(begin);
    differences_.for_each_block(index, [&](int64_t first, std::span<const double> values) {
      positions.resize(values.size());  // room for all of them, so that no element is a branch
      chosen.resize(values.size());
      dropped.resize(values.size());
      size_t kept = 0;
      keep(first, values, [&](size_t i, bool is_kept) {
        positions[kept] = static_cast<Position>(first + static_cast<int64_t>(i));
        chosen[kept] = values[i];
        dropped[i] = is_kept ? 0 : values[i];
        kept += is_kept ? 1 : 0;
      });
      const double lost = kernels::magnitudes(dropped).sum_squares;
      measures_[index].add(kernels::Residual{.error = lost, .norm = lost});
      store_values(tensor.name, std::span(chosen).first(kept), scale_, dtype_, stored, measures_[index]);
      writer_.write(2 * tile.tensor, offset * sizeof(Position), std::as_bytes(std::span(positions).first(kept)));
      writer_.write(2 * tile.tensor + 1, offset * static_cast<size_t>(itemsize(dtype_)), stored);
      offset += kept;
    });
  }

  static formats::OutputLayout layout(const Extraction& extraction, const Differences& differences,
                                      const std::vector<int64_t>& kept) {
    formats::OutputLayout layout;
    std::vector<formats::DescribedTensor> described;
    for (size_t t = 0; t < kept.size(); ++t) {
      const auto& tensor = differences.tensors()[t];
      const Dtype index = formats::index_dtype(tensor.info.numel()), dtype = extraction.options.dtype;
      layout.tensors.push_back({tensor.name + formats::kIndicesSuffix, {index, {kept[t]}}, 0});
      layout.tensors.push_back({tensor.name + formats::kValuesSuffix, {dtype, {kept[t]}}, 0});
      described.push_back({tensor.name, {dtype, tensor.info.shape}});
    }
    layout.metadata = extraction.metadata();
    layout.metadata[formats::kDescriptionsKey] = formats::describe_tensors(described);
    return layout;
  }

  const Differences& differences_;
  Dtype dtype_;
  double scale_;
  std::vector<Measure> measures_;
  formats::CheckpointWriter writer_;
};

/// Writes the elements of one tensor that `largest` chooses.
void write_largest(const Differences& differences, size_t t, const KeepLargest& largest, SparseWriter& writer) {
  const auto [first, end] = differences.tile_range(t);
  struct Part {
    int64_t above = 0, ties = 0;       // magnitudes above the threshold, and at it
    int64_t begin = 0, ties_left = 0;  // what is kept before this tile, and how many ties may still be
  };
  std::vector<Part> parts(end - first);
  const auto part_of = [&, begin = first](size_t tile) -> Part& { return parts[tile - begin]; };
  differences.for_each_tile(t, [&](size_t i) {
    MagnitudeBits magnitudes;
    int64_t above = 0, ties = 0;
    differences.for_each_block(i, [&](int64_t, std::span<const double> values) {
      const auto [block_above, block_ties] = kernels::count_above_and_equal(magnitudes.of(values), largest.bits());
      above += block_above;
      ties += block_ties;
    });
    part_of(i).above = above;
    part_of(i).ties = ties;
  });
  int64_t begin = 0, ties_left = largest.ties();
  for (Part& part : parts) {
    part.begin = begin;
    part.ties_left = ties_left;
    const int64_t taken = std::min(ties_left, part.ties);
    begin += part.above + taken;
    ties_left -= taken;
  }
  differences.for_each_tile(
      t, [&](size_t i) { writer.write(i, part_of(i).begin, KeepLargest(largest.bits(), part_of(i).ties_left)); });
}

void extract_largest(const Extraction& extraction, const Differences& differences) {
  std::vector<int64_t> kept;
  for (const auto& tensor : differences.tensors()) {
    const int64_t n = tensor.info.numel();
    kept.push_back(n == 0 ? 0 : std::clamp<int64_t>(std::llround(extraction.options.density * static_cast<double>(n)), 1, n));
  }
  SparseWriter writer(extraction, differences, kept, 1);
  Progress progress("extract", extraction.summary.dense_bytes, "bytes");
  differences.for_each_tensor([&](size_t t) {
    if (kept[t] > 0) write_largest(differences, t, find_largest(differences, t, kept[t]), writer);
    progress.add(4 * differences.tensors()[t].info.numel());
  });
  writer.finish(extraction);
}

void extract_random(const Extraction& extraction, const Differences& differences) {
  const auto threshold = static_cast<uint64_t>(std::llround(extraction.options.density * 0x1p32));
  if (threshold == 0) fail(ErrorCode::InvalidArgument, "a density of {} keeps nothing", extraction.options.density);
  const auto& tiles = differences.tiles();
  const auto keep = [&](const Tile& tile) {
    return KeepRandom(extraction.options.seed, differences.tensors()[tile.tensor].name, threshold);
  };
  std::vector<int64_t> begins(tiles.size()), kept(differences.tensors().size());
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const Tile& tile = tiles[static_cast<size_t>(i)];
    int64_t chosen = 0;
    keep(tile).choose(tile.begin, static_cast<size_t>(tile.n), [&](size_t, bool is_kept) { chosen += is_kept ? 1 : 0; });
    begins[static_cast<size_t>(i)] = chosen;
  });
  for (size_t i = 0; i < tiles.size(); ++i) kept[tiles[i].tensor] += std::exchange(begins[i], kept[tiles[i].tensor]);
  SparseWriter writer(extraction, differences, kept, 0x1p32 / static_cast<double>(threshold));
  Progress progress("extract", extraction.summary.dense_bytes, "bytes");
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    writer.write(index, begins[index], keep(tiles[index]));
    progress.add(4 * tiles[index].n);
  });
  writer.finish(extraction);
}

}  // namespace

void extract_sparse(const Extraction& extraction, const Differences& differences) {
  extraction.options.random ? extract_random(extraction, differences) : extract_largest(extraction, differences);
}

}  // namespace taskvec::edit
