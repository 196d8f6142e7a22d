#pragma once

#include "taskvec/edit/sources/vocabulary.h"
#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/delta/delta.h"

namespace taskvec::edit {

struct ExtractOptions {
  formats::DeltaKind kind = formats::DeltaKind::Dense;
  Dtype dtype = Dtype::F32;  ///< of the values of dense and sparse ones: F32 or BF16
  double density = 1;        ///< sparse: share of the elements that is kept, above 0 and at most 1
  bool random = false;       ///< sparse: keep a random share, rescaled by 1/density, rather than the largest magnitudes
  uint64_t seed = 0;         ///< of the random share, and of the random directions of a low rank
  int64_t rank = 0;          ///< rank: of the factors of every matrix, at least 1
  bool allow_differing_integers = false;     ///< tensors that are no floats stay as they are in the base
  Vocabulary vocabulary = Vocabulary::Same;  ///< embeddings of different numbers of tokens; not for lossless ones
};

struct ExtractSummary {
  int64_t tensors = 0;        ///< that the file holds something of
  int64_t whole = 0;          ///< lossless: tensors that the base has none like of
  int64_t bytes = 0;          ///< size of the file
  int64_t dense_bytes = 0;    ///< of the task vector in float32; of the fine-tuned checkpoint for a lossless one
  double relative_error = 0;  ///< |stored - exact| / |exact| over all elements, Euclidean norms
  double seconds = 0;
  std::string base_fingerprint, finetuned_fingerprint;
  std::vector<std::string> notes;  ///< what was done to bring the two together
};

/// Writes the task vector finetuned - base as a file of its own (docs/deltas.md says how each kind lies there), tile by tile on
/// all cores in constant memory (but for low ranks); it appears complete or not at all. The bytes depend on the inputs and the
/// options alone.
///
/// Differences are taken in float64 and rounded once. Sparse files keep the max(1, round(density * n)) largest magnitudes (of the
/// differences in float32) of a tensor of n elements, of equal ones those that come first; or each element by itself where 32
/// Philox bits keyed by (seed, tensor name, position) say so, divided by the probability.
/// Sources: TIES, Yadav et al. 2023, section 3 (top magnitudes); DARE, Yu et al. 2024, section 3 (random share);
/// BitDelta, Liu et al. 2024, section 3.1 (sign and mean magnitude); low_rank.h.
///
/// Low ranks: a tensor of two or more dimensions, as a matrix of shape[0] rows, becomes two float32 factors where these are
/// smaller; any other stays as it is, in float32. One such matrix is held in float64, a few where they are small.
/// @param output  a .safetensors file or a folder
/// @throws Error{InvalidArgument} for options that make no sense, and as Differences does; Error{Numeric} naming the tensor for
/// differences that are NaN, infinite or too large for the dtype; Error{Io}
ExtractSummary extract(std::shared_ptr<const formats::Checkpoint> base, std::shared_ptr<const formats::Checkpoint> finetuned,
                       const ExtractOptions& options, const std::filesystem::path& output);

}  // namespace taskvec::edit
