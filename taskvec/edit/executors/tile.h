#pragma once

#include "taskvec/edit/plan.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/kernels/overflow.h"
#include "taskvec/kernels/weighted_sum.h"

#include <functional>
#include <map>

namespace taskvec::edit {

/// Elements [begin, begin + n) of the output tensor at position `tensor` of a plan.
struct Tile {
  size_t tensor;
  int64_t begin, n;
};

/// Tiles that cover every output tensor, in order. Each begins at a multiple of formats::kHashChunk bytes in every source, and is
/// small enough for a few big tensors to be shared evenly by the cores.
std::vector<Tile> tiles_of(const Plan& plan);
std::vector<Tile> tiles_of(const Plan& plan, size_t tensor);  ///< of one

/// The bytes of one addend of a tile.
struct TileSource {
  size_t source;  ///< index into Plan::sources
  formats::TensorRange range;

  Dtype dtype() const { return range.info().dtype; }
  /// The elements from `first` of the tile on.
  const std::byte* data(int64_t first) const { return range.bytes().data() + first * itemsize(dtype()); }

  /// Read ahead of the tile, and let go of its bytes: in blocks of several tiles, as each call costs a little.
  void read_ahead() const;
  void release() const;
};

/// Plan::sources_of() the tensor.
std::vector<TileSource> sources_of(const Plan& plan, const Tile& tile, bool looked_at = false);

/// The sources of a plan, for PassingFingerprints.
std::vector<const formats::Checkpoint*> checkpoints_of(const Plan& plan);

/// Hashes the sources of a tile step by step, so that bytes are read once from memory: what is hashed is computed with at once.
class TileHashes {
 public:
  TileHashes(formats::PassingFingerprints& fingerprints, const Plan& plan, const Tile& tile, std::span<const TileSource> sources);
  /// Elements [first, first + n) of the tile, which follow those before.
  void add(int64_t first, int64_t n);

 private:
  std::span<const TileSource> sources_;
  std::vector<formats::PassingFingerprints::Run> runs_;
};

/// What calls come to in a range of elements: TensorPlan::Term::source -> float32 values.
using CallValues = std::map<size_t, std::vector<float>>;

/// The addends of a sum at elements [first, ...) of a tile.
std::vector<kernels::Addend> addends_of(std::span<const TensorPlan::Term> terms, std::span<const TileSource> sources,
                                        const CallValues& calls, int64_t first);

/// Elements [first, first + n) of a tile into `out`: a byte copy where the plan says so, a weighted sum otherwise.
/// @param sources   of the tile
/// @param saturate  clamp what overflows the output's dtype
/// @param calls     of the tensor, in these elements (merges.h)
void compute(const TensorPlan& tensor, std::span<const TileSource> sources, int64_t first, int64_t n, bool saturate,
             std::byte* out, const CallValues& calls = {});

/// The same for a tensor that is no copy, and counts what is not finite.
kernels::NonFinite compute_counted(const TensorPlan& tensor, std::span<const TileSource> sources, int64_t first, int64_t n,
                                   bool saturate, std::byte* out, const CallValues& calls = {});

}  // namespace taskvec::edit
