#include "taskvec/train/step.h"

#include "taskvec/data/dataset.h"
#include "taskvec/train/head.h"

#include <torch/csrc/autograd/autograd.h>

namespace taskvec::train {

Gradients image_encoder_gradients(const models::Clip& network, const bridge::Params& encoder, const at::Tensor& pixels,
                                  const at::Tensor& labels, const at::Tensor& head, double label_smoothing) {
  const at::Tensor logits = classify(network.image_features(encoder, pixels), head);
  const at::Tensor loss = at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, /*ignore_index=*/-100, label_smoothing);
  std::vector<at::Tensor> leaves;
  for (const auto& entry : encoder) leaves.push_back(entry.second);
  Gradients result;
  result.grads = torch::autograd::grad({loss}, leaves);
  result.loss = loss.item<double>();
  return result;
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
