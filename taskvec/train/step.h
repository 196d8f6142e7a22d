#pragma once

#include "taskvec/tangent/linearized.h"

#include <cstdint>
#include <vector>

namespace taskvec::train {

/// A value of the loss and where it falls fastest.
struct Gradients {
  double loss = 0;
  std::vector<at::Tensor> grads;  ///< in the order of the parameters that move
};

/// Mean cross entropy of CLIP's image encoder under a frozen zero-shot head, and its gradients.
/// @param encoder  the image encoder's parameters, functions of the leaves
/// @param leaves   get gradients
/// @param pixels   [batch, channels, size, size], normalised
/// @param labels   [batch] int64
/// @param head     [projection_dim, classes], of zero_shot_head()
Gradients image_encoder_gradients(const models::Clip& network, const bridge::Params& encoder, const bridge::Params& leaves,
                                  const at::Tensor& pixels, const at::Tensor& labels, const at::Tensor& head,
                                  double label_smoothing);

/// The same for the linearised image encoder at θ0 + τ: gradients with respect to τ.
/// @param tau  of the encoder's parameters, in their order; those that it lacks stay
Gradients linear_gradients(const tangent::Linearized& encoder, const bridge::Params& tau, const at::Tensor& pixels,
                           const at::Tensor& labels, const at::Tensor& head, double label_smoothing);

/// weight · E‖J(x; θ0) τ‖² over images of other tasks, and its gradients with respect to τ: what keeps a vector from moving the
/// outputs there (Yoshida et al. 2025, "Mastering Task Arithmetic: τJp as a Key Indicator for Weight Disentanglement").
Gradients jvp_penalty(const tangent::Linearized& encoder, const bridge::Params& tau, const at::Tensor& pixels, double weight);

/// Which samples a training step sees: an endless run through the epochs, each a permutation of its own, so that a step's batch
/// is a function of (samples, batch, seed, step) alone.
class BatchOrder {
 public:
  BatchOrder(int64_t samples, int64_t batch, uint64_t seed) : samples_(samples), batch_(batch), seed_(seed) {}
  std::vector<int64_t> indices(int64_t step);

 private:
  int64_t samples_, batch_;
  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;  // of epoch_
};

}  // namespace taskvec::train
