#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "taskvec/edit/extraction.h"
#include "taskvec/formats/described_tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

namespace taskvec::edit {
namespace {

/// The order of these bits is the order of the magnitudes.
uint32_t magnitude_bits(double value) { return std::bit_cast<uint32_t>(static_cast<float>(std::abs(value))); }

/// Keeps every magnitude above `bits`, and of those equal to it the next `ties`.
struct KeepLargest {
  uint32_t bits = 0;
  int64_t ties = 0;

  bool operator()(int64_t, double value) {
    const uint32_t magnitude = magnitude_bits(value);
    return magnitude > bits || (magnitude == bits && ties-- > 0);
  }
};

/// Keeps an element where its 32 random bits are below a threshold.
class KeepRandom {
 public:
  KeepRandom(uint64_t seed, const std::string& tensor, uint64_t threshold) : random_(seed, tensor), threshold_(threshold) {}

  bool operator()(int64_t index, double) {
    const uint64_t block = static_cast<uint64_t>(index) / 4;  // one block of Philox has four words
    if (block != block_) words_ = random_.block(block_ = block);
    return words_[static_cast<size_t>(index) % 4] < threshold_;
  }

 private:
  Philox random_;
  uint64_t threshold_, block_ = UINT64_MAX;
  std::array<uint32_t, 4> words_{};
};

/// How many elements have each value of `bin_of(value)`, which returns a bin from 0 to 2^16 - 1, or one beyond for none.
template <typename BinOf>
std::vector<int64_t> histogram(const Differences& differences, size_t tensor, const BinOf& bin_of) {
  constexpr size_t kBins = size_t{1} << 16;
  std::vector<int64_t> total(kBins);
  std::mutex mutex;
  differences.for_each_tile(tensor, [&](size_t i) {
    std::vector<int64_t> counts(kBins + 1);
    differences.for_each_block(i, [&](int64_t, std::span<const double> values) {
      for (const double value : values) ++counts[std::min<size_t>(bin_of(magnitude_bits(value)), kBins)];
    });
    const std::lock_guard lock(mutex);
    for (size_t bin = 0; bin < kBins; ++bin) total[bin] += counts[bin];
  });
  return total;
}

/// The bin that holds the element of this rank (1: the largest), which becomes its rank within the bin.
uint32_t find_bin(const std::vector<int64_t>& counts, int64_t& rank) {
  size_t bin = counts.size() - 1;
  while (counts[bin] < rank) rank -= counts[bin--];
  return static_cast<uint32_t>(bin);
}

/// The k largest magnitudes, exactly: by a histogram of the upper halves of their bits, and one of the lower halves in its bin.
KeepLargest find_largest(const Differences& differences, size_t tensor, int64_t k) {
  int64_t rank = k;
  const uint32_t high = find_bin(histogram(differences, tensor, [](uint32_t bits) { return bits >> 16; }), rank);
  const uint32_t low = find_bin(
      histogram(differences, tensor, [&](uint32_t bits) { return bits >> 16 == high ? bits & 0xFFFF : UINT32_MAX; }), rank);
  return {high << 16 | low, rank};
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
  void write(size_t index, int64_t begin, Keep keep) {
    const Tile& tile = differences_.tiles()[index];
    const auto& tensor = differences_.tensors()[tile.tensor];
    const auto item = static_cast<size_t>(itemsize(formats::index_dtype(tensor.info.numel())));
    std::vector<std::byte> positions, stored;
    std::vector<double> chosen;
    auto offset = static_cast<uint64_t>(begin);
    differences_.for_each_block(index, [&](int64_t first, std::span<const double> values) {
      positions.clear();
      chosen.clear();
      for (size_t i = 0; i < values.size(); ++i) {
        const auto position = static_cast<uint64_t>(first) + i;
        if (!keep(static_cast<int64_t>(position), values[i])) {
          measures_[index].add(values[i], 0);
          continue;
        }
        chosen.push_back(values[i]);
        const auto* bytes = reinterpret_cast<const std::byte*>(&position);  // little-endian: the low bytes come first
        positions.insert(positions.end(), bytes, bytes + item);
      }
      store_values(tensor.name, chosen, scale_, dtype_, stored, measures_[index]);
      writer_.write(2 * tile.tensor, offset * item, positions);
      writer_.write(2 * tile.tensor + 1, offset * static_cast<size_t>(itemsize(dtype_)), stored);
      offset += chosen.size();
    });
  }

  void finish(const Extraction& extraction) {
    extraction.set_error(measures_);
    extraction.finish(writer_, differences_.fingerprints());
  }

 private:
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
    differences.for_each_block(i, [&](int64_t, std::span<const double> values) {
      for (const double value : values) {
        const uint32_t bits = magnitude_bits(value);
        part_of(i).above += bits > largest.bits ? 1 : 0;
        part_of(i).ties += bits == largest.bits ? 1 : 0;
      }
    });
  });
  int64_t begin = 0, ties_left = largest.ties;
  for (Part& part : parts) {
    part.begin = begin;
    part.ties_left = ties_left;
    const int64_t taken = std::min(ties_left, part.ties);
    begin += part.above + taken;
    ties_left -= taken;
  }
  differences.for_each_tile(t, [&](size_t i) {
    writer.write(i, part_of(i).begin, KeepLargest{largest.bits, part_of(i).ties_left});
  });
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
    auto chosen = keep(tile);
    for (int64_t k = 0; k < tile.n; ++k) begins[static_cast<size_t>(i)] += chosen(tile.begin + k, 0) ? 1 : 0;
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
