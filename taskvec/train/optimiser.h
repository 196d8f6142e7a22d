#pragma once

#include "taskvec/bridge/params.h"

namespace taskvec::train {

/// lr * (step + 1) / warmup below warmup, else lr * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2. Source: the papers'
/// code.
double cosine_schedule(double learning_rate, int64_t step, int64_t steps, int64_t warmup);

/// AdamW (Loshchilov and Hutter 2019) over named tensors, updated in place by libtorch's fused kernel.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.1;
    double clip = 0;  ///< global gradient norm is clipped to this first (as torch's clip_grad_norm_); 0: not
  };
  /// @param params  leaf tensors that own their memory and require gradients
  AdamW(bridge::Params params, Options options);
  /// One update from the gradients `grads` (in the order of params). @return the gradient norm before clipping
  double step(std::vector<at::Tensor> grads, double learning_rate);
  /// Moments and step counts for snapshots: the live tensors, not copies.
  bridge::Params state() const;
  /// Copies what state() gave, in this process or another. @throws Error{NotFound | Format} naming a missing or misshapen entry.
  void restore(const bridge::Params& state);

 private:
  bridge::Params params_;
  Options options_;
  std::vector<at::Tensor> tensors_, first_, second_, steps_;
};

}  // namespace taskvec::train
