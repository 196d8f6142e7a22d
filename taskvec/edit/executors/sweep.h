#pragma once

#include "taskvec/edit/executors/merges.h"

#include <functional>

namespace taskvec::edit {

/// What one pass over the sources of a plan found out.
struct SweepResult {
  std::vector<std::string> fingerprints;  ///< of Plan::sources
  int64_t non_finite = 0;                 ///< NaN and infinite elements of the output
  struct NonFinite {
    size_t tensor;
    int64_t total, given;  ///< elements; those of them that were not finite in a source, either
  };
  std::vector<NonFinite> non_finite_tensors;  ///< that have such elements, in order
  /// Tensors of which elements were too large for the output's dtype, in order, with how many; a plan that saturates clamped
  /// them, otherwise they are among the non-finite ones.
  std::vector<std::pair<size_t, int64_t>> overflowed;
};

/// A computed range of an output tensor: position in the plan, offset of the first byte, the bytes (valid during the call).
using TileConsumer = std::function<void(size_t tensor, uint64_t offset, std::span<const std::byte> bytes)>;

/// Computes every output tensor tile by tile and fingerprints the sources on the way: every source is read once, and nothing is
/// kept but a few tiles per thread. Calls `consume` from all threads, one at a time, once for every byte of the output.
/// @param merges  of the plan's calls
SweepResult sweep(const Plan& plan, const Merges& merges, const TileConsumer& consume);

}  // namespace taskvec::edit
