#include "taskvec/tangent/linearized.h"

#include "taskvec/core/error.h"

#include <torch/csrc/autograd/autograd.h>

namespace taskvec::tangent {
namespace {

/// θ0 as leaves that record, where `moves` says so; constants elsewhere.
bridge::Params recording(const bridge::Params& origin, std::vector<at::Tensor>& leaves,
                         const std::function<bool(const std::string&)>& moves) {
  return origin.map([&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.is_floating_point() || (moves && !moves(name))) return tensor;
    return leaves.emplace_back(tensor.detach().requires_grad_());
  });
}

}  // namespace

Linearized::Linearized(Forward forward, bridge::Params origin) : forward_(std::move(forward)), origin_(std::move(origin)) {}

void Linearized::check(const bridge::Params& tau) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tau) {
    const at::Tensor* here = origin_.find(name);
    if (here == nullptr) {
      for (const auto& entry : origin_) names.push_back(entry.first);
      fail(ErrorCode::InvalidArgument, "the direction moves '{}', which the network does not have{}", name,
           did_you_mean(name, names));
    }
    if (here->sizes() != tensor.sizes()) {
      fail(ErrorCode::InvalidArgument, "the direction of '{}' has shape {}, the parameter {}", name,
           to_string(tensor.sizes().vec()), to_string(here->sizes().vec()));
    }
    if (!tensor.isfinite().all().item<bool>()) {
      fail(ErrorCode::Numeric, "the direction of '{}' holds NaN or infinite values", name);
    }
  }
}

models::Dual Linearized::jvp(std::span<const bridge::Params> directions, const at::Tensor& x) const {
  for (const bridge::Params& tau : directions) check(tau);
  const at::NoGradGuard no_grad;
  models::Dual result = forward_(origin_, directions, x);
  result.tangents.resize(directions.size());
  for (at::Tensor& tangent : result.tangents) {
    if (!tangent.defined()) tangent = at::zeros_like(result.primal);  // a direction that moves nothing
  }
  return result;
}

at::Tensor Linearized::operator()(const bridge::Params& tau, const at::Tensor& x) const {
  const models::Dual value = jvp({&tau, 1}, x);
  return value.primal + value.tangents[0];
}

bridge::Params Linearized::vjp(const at::Tensor& x, const at::Tensor& cotangent,
                               const std::function<bool(const std::string&)>& include) const {
  const at::AutoGradMode grad(true);
  std::vector<at::Tensor> leaves;
  const bridge::Params point = recording(origin_, leaves, include);
  const at::Tensor outputs = forward_(point, {}, x).primal;
  const auto grads = torch::autograd::grad({outputs}, leaves, {cotangent}, std::nullopt, false, /*allow_unused=*/true);
  bridge::Params result;
  size_t next = 0;
  for (const auto& [name, tensor] : point) {
    if (!tensor.requires_grad()) continue;
    const at::Tensor& gradient = grads[next++];
    result.add(name, gradient.defined() ? gradient : at::zeros_like(tensor));
  }
  return result;
}

Linearized::Loss Linearized::gradients(const bridge::Params& tau, const at::Tensor& x,
                                       const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& loss) const {
  const at::AutoGradMode grad(true);
  std::vector<at::Tensor> leaves;
  const bridge::Params point = recording(origin_, leaves, [&](const std::string& name) { return tau.contains(name); });
  const models::Dual value = forward_(point, {&tau, 1}, x);
  const at::Tensor& moved = value.tangents.at(0);
  const at::Tensor tangent = (moved.defined() ? moved : at::zeros_like(value.primal)).detach().requires_grad_();
  const at::Tensor scalar = loss(value.primal.detach(), tangent);
  const at::Tensor cotangent = torch::autograd::grad({scalar}, {tangent}).at(0);
  return {scalar.item<double>(), torch::autograd::grad({value.primal}, leaves, {cotangent})};
}

Linearized image_encoder(const models::Clip& network, bridge::Params origin) {
  return {[&network](const bridge::Params& point, std::span<const bridge::Params> directions, const at::Tensor& pixels) {
            return network.image_features(point, directions, pixels);
          },
          origin.filter(models::Clip::is_image_encoder)};
}

bridge::Params task_vector(const bridge::Params& base, const bridge::Params& finetuned) {
  return base.filter(models::Clip::is_image_encoder).map([&](const std::string& name, const at::Tensor& tensor) {
    const at::Tensor& other = finetuned.at(name);
    if (tensor.scalar_type() == at::kDouble && other.scalar_type() == at::kDouble) return other - tensor;
    return other.to(at::kFloat) - tensor.to(at::kFloat);
  });
}

}  // namespace taskvec::tangent
