#include "taskvec/train/moves.h"

#include "taskvec/core/error.h"
#include "taskvec/core/glob.h"
#include "taskvec/core/random.h"

#include <cmath>

namespace taskvec::train {
namespace {

/// Uniform in ±1/sqrt(in), as PEFT initialises it.
at::Tensor random_a(int64_t rank, int64_t in, const std::string& name, uint64_t seed) {
  const Philox random(seed, name);
  at::Tensor a = at::empty({rank, in}, at::kFloat);
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  for (int64_t i = 0; i < a.numel(); ++i)
    a.mutable_data_ptr<float>()[i] = static_cast<float>(bound * (2 * random.uniform(static_cast<uint64_t>(i)) - 1));
  return a;
}

bool is_block_matrix(const std::string& name, const at::Tensor& tensor) {
  return tensor.dim() == 2 && name.find(".layers.") != std::string::npos;
}

}  // namespace

Moves::Moves(const bridge::Params& origin, const Options& options)
    : origin_(origin.map([](const std::string&, const at::Tensor& tensor) { return tensor.detach(); })) {
  const Glob only(options.only);
  for (const auto& [name, tensor] : origin_) {
    if (!only.matches(name)) continue;
    if (options.rank == 0) {
      leaves_.add(name, tensor.clone().requires_grad_());
      continue;
    }
    if (!is_block_matrix(name, tensor)) continue;
    if (options.rank > std::min(tensor.size(0), tensor.size(1)))
      fail(ErrorCode::InvalidArgument, "--lora {}: '{}' is {} by {}; its rank is no larger", options.rank, name, tensor.size(0),
           tensor.size(1));
    Adapter adapter{name, random_a(options.rank, tensor.size(1), name + ".lora_A", options.seed).to(tensor.device()),
                    at::zeros({tensor.size(0), options.rank}, tensor.options()).requires_grad_()};
    if (!options.linear) leaves_.add(name + ".lora_A", adapter.a.requires_grad_());
    leaves_.add(name + ".lora_B", adapter.b);
    adapters_.push_back(std::move(adapter));
  }
  if (leaves_.size() == 0)
    fail(ErrorCode::InvalidArgument,
         "--only '{}' leaves no {} of the image encoder to train; 'taskvec inspect' lists their names", options.only,
         options.rank == 0 ? "parameter" : "matrix of a block");
}

bridge::Params Moves::weights() const {
  bridge::Params result = origin_;
  for (const Adapter& adapter : adapters_) result.set(adapter.weight, origin_.at(adapter.weight) + adapter.b.matmul(adapter.a));
  if (adapters_.empty())
    for (const auto& [name, leaf] : leaves_) result.set(name, leaf);
  return result;
}

bridge::Params Moves::displacement() const {
  const at::NoGradGuard no_grad;
  bridge::Params tau;
  for (const Adapter& adapter : adapters_) tau.add(adapter.weight, adapter.b.matmul(adapter.a));
  if (adapters_.empty())
    for (const auto& [name, leaf] : leaves_) tau.add(name, leaf.detach() - origin_.at(name));
  return tau;
}

std::vector<at::Tensor> Moves::pull_back(std::vector<at::Tensor> grads) const {
  if (adapters_.empty()) return grads;
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < adapters_.size(); ++i) grads[i] = grads[i].matmul(adapters_[i].a.t());
  return grads;
}

}  // namespace taskvec::train
