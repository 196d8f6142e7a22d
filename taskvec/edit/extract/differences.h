#pragma once

#include "taskvec/edit/executors/tile.h"
#include "taskvec/edit/plan.h"
#include "taskvec/formats/fingerprint.h"

#include <functional>
#include <optional>

namespace taskvec::edit {

/// Of the two checkpoints that a task vector lies between.
struct EndFingerprints {
  std::string base, finetuned;
};

/// The task vector between two checkpoints, to be passed over tile by tile, in float64: finetuned - base for every float tensor
/// of the fine-tuned checkpoint, in its order.
class Differences {
 public:
  /// @throws Error{InvalidArgument} naming the tensor when it is not in the base, has another shape there, is float in one only,
  /// or is no float and differs (unless `allow_differing_integers`); or when an end is itself a task vector
  Differences(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> finetuned,
              bool allow_differing_integers, Vocabulary vocabulary = Vocabulary::Same);

  /// Sources are the fine-tuned checkpoint and the base; dtypes mean nothing.
  const Plan& plan() const { return plan_; }
  const std::vector<TensorPlan>& tensors() const { return plan_.tensors; }
  const std::vector<Tile>& tiles() const { return tiles_; }

  /// The tiles of a tensor: positions [first, second) in tiles().
  std::pair<size_t, size_t> tile_range(size_t tensor) const { return {first_tile_[tensor], first_tile_[tensor + 1]}; }

  /// Calls use(first, n, sources) for elements [first, first + n) of the tile at this position, in order, `first` in elements of
  /// the tile: two sources, the fine-tuned checkpoint first, whose bytes are in the cache by now.
  void for_each_part(size_t tile, const std::function<void(int64_t first, int64_t n, std::span<const TileSource>)>& use) const;

  /// Calls use(first, values) for the elements of the tile at this position, block by block in order; a block begins at a
  /// multiple of 8 elements, `first` in elements of the tensor.
  /// @throws Error{Numeric} naming the tensor when a difference is NaN or infinite
  void for_each_block(size_t tile, const std::function<void(int64_t first, std::span<const double> values)>& use) const;

  /// The differences of elements [first, first + values.size()) of a tile.
  /// @throws Error{Numeric} as for_each_block()
  void exact(const Tile& tile, std::span<const TileSource> sources, int64_t first, std::span<double> values) const;

  /// Calls body(tile) with every position of tiles() that belongs to a tensor, from all threads.
  void for_each_tile(size_t tensor, const std::function<void(size_t tile)>& body) const;
  /// The fingerprints of both checkpoints, which are hashed on the first pass over their tiles; what no tile covers is read now.
  EndFingerprints fingerprints() const;

  /// Calls body(tensor) for every tensor. Small ones share the threads; inside of a large one for_each_tile() does.
  void for_each_tensor(const std::function<void(size_t tensor)>& body) const;

 private:
  void add(const formats::TensorEntry& entry, bool allow_differing_integers);

  Plan plan_;
  std::vector<Tile> tiles_;
  std::vector<size_t> first_tile_;  // of each tensor, and one more
  mutable std::optional<formats::PassingFingerprints> hashes_;
  mutable std::vector<char> hashed_;  // which tiles are; no bits, as threads write beside each other
};

}  // namespace taskvec::edit
