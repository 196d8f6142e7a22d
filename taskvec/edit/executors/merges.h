#pragma once

#include "taskvec/edit/executors/tile.h"

#include <memory>

namespace taskvec::edit {

/// The calls of a plan, ready to give values: construction makes the passes over the sources that their methods need, each in
/// tiles on every core. Memory: a method's own state (constant per tensor, or per model), and per thread the arguments of some
/// thousand elements; scopes of one tensor are finished a few at a time.
class Merges {
 public:
  /// Elements that are computed at once, a multiple of kPartAlignment.
  static constexpr int64_t kStep = 8192;

  /// @param last  of an earlier plan of the same draft: what did not change is taken from there; may be null
  explicit Merges(const Plan& plan, const Merges* last = nullptr);

  /// What the calls of a tile's tensor come to at elements [first, first + n) of the tile. @param first  a multiple of
  /// kPartAlignment
  CallValues values(const Tile& tile, std::span<const TileSource> sources, int64_t first, int64_t n) const;

 private:
  /// A call over its scope: one tensor, or all that it takes part in.
  struct Scope {
    TensorPlan::Call call;
    std::vector<size_t> tensors;  // positions in the plan
    std::shared_ptr<Merge> merge;
  };
  struct Place {
    size_t scope, tensor;  // which scope, and the position there
  };

  void find_scopes(const Plan& plan);
  void finish(std::span<Scope> scopes);
  void pass(std::span<Scope> scopes);
  std::vector<std::vector<float>> arguments(const TensorPlan& tensor, const TensorPlan::Call& call,
                                            std::span<const TileSource> sources, const CallValues& inner, int64_t first,
                                            int64_t n) const;
  void add_values(const TensorPlan& tensor, size_t calls, const Tile& tile, std::span<const TileSource> sources, int64_t first,
                  int64_t n, bool used_only, CallValues& values) const;

  const Plan* plan_;
  std::vector<Scope> scopes_;               // of inner calls first
  std::vector<std::vector<Place>> places_;  // per tensor and call of it
};

}  // namespace taskvec::edit
