#pragma once

#include "taskvec/core/progress.h"
#include "taskvec/edit/extract/differences.h"
#include "taskvec/edit/extract/extract.h"
#include "taskvec/formats/delta/delta.h"
#include "taskvec/formats/writer.h"
#include "taskvec/kernels/statistics.h"

namespace taskvec::edit {

/// Squares of the error made and of the exact differences: one per tile, added in order, so that the sum is the same on any
/// number of threads.
struct Measure {
  double error = 0, norm = 0;

  void add(double exact, double stored) {
    error += (stored - exact) * (stored - exact);
    norm += exact * exact;
  }
  void add(const kernels::Residual& residual) {
    error += residual.error;
    norm += residual.norm;
  }
  void add(const kernels::Difference& exact_to_stored) {
    error += exact_to_stored.sum_squares;
    norm += exact_to_stored.dot_aa;
  }
};

/// One extraction under way: what the kinds share.
struct Extraction {
  std::shared_ptr<const formats::Checkpoint> base, finetuned;
  const ExtractOptions& options;
  const std::filesystem::path& output;
  formats::DeltaInfo info;  ///< with fingerprints of 32 zeros: they are known when everything has been read
  ExtractSummary& summary;

  /// What delta_info() reads.
  std::map<std::string, std::string> metadata() const {
    auto all = formats::delta_metadata(info);
    // A difference of points of a tangent space is a vector there.
    if (const std::string origin = tangent_origin({finetuned, base}, {"finetuned", "base"}, Mode::Auto); !origin.empty()) {
      all[kModeKey] = kLinear;
      all[kOriginKey] = origin;
    }
    return all;
  }
  /// Puts the fingerprints into summary and metadata, and commits.
  void finish(formats::CheckpointWriter& writer, const EndFingerprints& fingerprints) const;
  void set_error(const std::vector<Measure>& measures) const;
};

/// values[i] * scale, rounded to `dtype`, into `out`; adds what the rounding did to `measure`.
/// @throws Error{Numeric} naming the tensor when one of them is too large for the dtype
void store_values(const std::string& tensor, std::span<const double> values, double scale, Dtype dtype,
                  std::vector<std::byte>& out, Measure& measure);

void extract_sparse(const Extraction& extraction, const Differences& differences);
void extract_rank(const Extraction& extraction, const Differences& differences);
void extract_lossless(const Extraction& extraction);

}  // namespace taskvec::edit
