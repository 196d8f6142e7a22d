#include "taskvec/train/step.h"

#include "taskvec/data/dataset.h"
#include "taskvec/train/head.h"

#include <torch/csrc/autograd/autograd.h>

namespace taskvec::train {

namespace {

at::Tensor mean_cross_entropy(const at::Tensor& features, const at::Tensor& labels, const at::Tensor& head,
                              double label_smoothing) {
  return at::cross_entropy_loss(classify(features, head), labels, {}, at::Reduction::Mean, /*ignore_index=*/-100,
                                label_smoothing);
}

}  // namespace

Gradients image_encoder_gradients(const models::Clip& network, const bridge::Params& encoder, const bridge::Params& leaves,
                                  const at::Tensor& pixels, const at::Tensor& labels, const at::Tensor& head,
                                  double label_smoothing) {
  const at::Tensor loss = mean_cross_entropy(network.image_features(encoder, pixels), labels, head, label_smoothing);
  std::vector<at::Tensor> inputs;
  for (const auto& entry : leaves) inputs.push_back(entry.second);
  Gradients result;
  result.grads = torch::autograd::grad({loss}, inputs);
  result.loss = loss.item<double>();
  return result;
}

Gradients linear_gradients(const tangent::Linearized& encoder, const bridge::Params& tau, const at::Tensor& pixels,
                           const at::Tensor& labels, const at::Tensor& head, double label_smoothing) {
  tangent::Linearized::Loss loss = encoder.gradients(tau, pixels, [&](const at::Tensor& origin, const at::Tensor& tangent) {
    return mean_cross_entropy(origin + tangent, labels, head, label_smoothing);
  });
  return {loss.value, std::move(loss.grads)};
}

Gradients jvp_penalty(const tangent::Linearized& encoder, const bridge::Params& tau, const at::Tensor& pixels, double weight) {
  tangent::Linearized::Loss loss = encoder.gradients(
      tau, pixels, [&](const at::Tensor&, const at::Tensor& tangent) { return weight * tangent.square().sum(1).mean(); });
  return {loss.value, std::move(loss.grads)};
}

std::vector<int64_t> BatchOrder::indices(int64_t step) {
  std::vector<int64_t> result;
  result.reserve(static_cast<size_t>(batch_));
  for (int64_t position = step * batch_; position < (step + 1) * batch_; ++position) {
    if (position / samples_ != epoch_) {
      epoch_ = position / samples_;
      order_ = data::epoch_order(samples_, seed_, epoch_);
    }
    result.push_back(order_[static_cast<size_t>(position % samples_)]);
  }
  return result;
}

}  // namespace taskvec::train
