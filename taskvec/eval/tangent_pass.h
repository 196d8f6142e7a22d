#pragma once

#include "taskvec/eval/samples.h"
#include "taskvec/eval/sweep_cache.h"
#include "taskvec/tangent/affine.h"

namespace taskvec::eval {

/// Passes of a linearised network over tasks' samples: f(x; θ0) and J τ, each of which is computed once and kept in a cache.
class TangentPass {
 public:
  /// @param width  of the outputs
  TangentPass(tangent::Linearized linearized, int64_t width);

  const std::string& origin_fingerprint() const { return origin_fingerprint_; }  ///< of θ0
  int64_t images_forwarded() const { return forwarded_; }  ///< an image with K directions counts 1 + K times

  /// f_lin(x; point) as a function of pixels. Lifetime: as long as this.
  std::function<at::Tensor(const at::Tensor& pixels)> at(const bridge::Params& point);

  /// f_lin of a split's samples as a function of coefficients: at `point` plus Σ c_k directions_k.
  /// @param cache     gives and takes f(x; θ0) and J τ, block by block, where they fit in its budget; may be null
  /// @param identity  changes when anything does that blocks depend on, directions and rows aside
  tangent::AffineOutputs outputs(const bridge::Params& point, std::span<const bridge::Params> directions, Samples& samples,
                                 const data::Task& task, data::Split split, SweepCache* cache, const std::string& identity);

 private:
  bridge::Params displacement(const bridge::Params& point) const;
  std::vector<at::Tensor> forward(std::span<const bridge::Params> moves, std::span<const size_t> wanted,
                                  const at::Tensor& pixels);

  tangent::Linearized linearized_;
  int64_t width_;
  std::string origin_fingerprint_;
  int64_t forwarded_ = 0;
};

/// Of names and bytes, in order.
std::string fingerprint_of(const bridge::Params& params);

}  // namespace taskvec::eval
