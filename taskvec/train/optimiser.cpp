#include "taskvec/train/optimiser.h"

#include "taskvec/core/error.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <numbers>

namespace taskvec::train {

double cosine_schedule(double learning_rate, int64_t step, int64_t steps, int64_t warmup) {
  if (step < warmup) return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, steps - warmup));
  return learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

AdamW::AdamW(bridge::Params params, Options options) : params_(std::move(params)), options_(options) {
  for (const auto& [name, tensor] : params_) {
    if (!tensor.is_leaf() || !tensor.requires_grad()) {
      fail(ErrorCode::InvalidArgument, "AdamW: '{}' is no leaf tensor that requires a gradient", name);
    }
    tensors_.push_back(tensor);
    first_.push_back(at::zeros_like(tensor));
    second_.push_back(at::zeros_like(tensor));
    steps_.push_back(at::zeros({}, tensor.options().dtype(at::kFloat)));
  }
}

double AdamW::step(std::vector<at::Tensor> grads, double learning_rate) {
  const at::NoGradGuard no_grad;
  if (grads.size() != tensors_.size()) {
    fail(ErrorCode::InvalidArgument, "AdamW: {} gradients for {} parameters", grads.size(), tensors_.size());
  }
  for (size_t i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined()) grads[i] = at::zeros_like(tensors_[i]);
  }
  const double norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads)), 2).item<double>();
  constexpr double kEpsilon = 1e-6;  // as torch.nn.utils.clip_grad_norm_
  if (const double factor = options_.clip / (norm + kEpsilon); options_.clip > 0 && factor < 1) at::_foreach_mul_(grads, factor);

  at::_foreach_add_(steps_, 1);
  at::_fused_adamw_(tensors_, grads, first_, second_, {}, steps_, learning_rate, options_.beta1, options_.beta2,
                    options_.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  return norm;
}

bridge::Params AdamW::state() const {
  bridge::Params state;
  size_t i = 0;
  for (const auto& entry : params_) {
    state.add("adamw.first." + entry.first, first_[i]);
    state.add("adamw.second." + entry.first, second_[i]);
    state.add("adamw.step." + entry.first, steps_[i]);
    ++i;
  }
  return state;
}

void AdamW::restore(const bridge::Params& state) {
  const at::NoGradGuard no_grad;
  const auto copy = [&](const at::Tensor& to, const std::string& name) {
    const at::Tensor& from = state.at(name);
    if (from.sizes() != to.sizes()) {
      fail(ErrorCode::Format, "optimiser state '{}': expected shape {}, got {}", name, taskvec::to_string(to.sizes().vec()),
           taskvec::to_string(from.sizes().vec()));
    }
    to.copy_(from);
  };
  size_t i = 0;
  for (const auto& entry : params_) {
    copy(first_[i], "adamw.first." + entry.first);
    copy(second_[i], "adamw.second." + entry.first);
    copy(steps_[i], "adamw.step." + entry.first);
    ++i;
  }
}

}  // namespace taskvec::train
