#include "taskvec/models/checkpointed.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace taskvec::models {
namespace {

namespace autograd = torch::autograd;

/// What the reverse pass needs besides tensors; autograd takes it for no variable.
struct Call : torch::CustomClassHolder {
  at::Tensor value;
  std::function<at::Tensor(const std::vector<at::Tensor>&)> f;
};

struct Recomputed : autograd::Function<Recomputed> {
  static at::Tensor forward(autograd::AutogradContext* context, const c10::intrusive_ptr<Call>& call, at::TensorList inputs) {
    context->save_for_backward(inputs.vec());
    context->saved_data["call"] = at::IValue::make_capsule(call);
    return std::exchange(call->value, {});
  }

  static autograd::variable_list backward(autograd::AutogradContext* context, const autograd::variable_list& cotangents) {
    const auto call = context->saved_data["call"].toCapsule();
    std::vector<at::Tensor> inputs, wanted;
    for (const at::Tensor& saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach().requires_grad_(saved.requires_grad()));
      if (saved.requires_grad()) wanted.push_back(inputs.back());
    }
    const at::AutoGradMode on(true);
    const at::Tensor output = static_cast<const Call&>(*call).f(inputs);
    const auto grads = autograd::grad({output}, wanted, cotangents, std::nullopt, false, /*allow_unused=*/true);
    autograd::variable_list result{at::Tensor()};  // of the call
    size_t next = 0;
    for (const at::Tensor& input : inputs) result.push_back(input.requires_grad() ? grads[next++] : at::Tensor());
    return result;
  }
};

}  // namespace

at::Tensor checkpointed(const at::Tensor& value, std::function<at::Tensor(const std::vector<at::Tensor>&)> f,
                        const std::vector<at::Tensor>& inputs) {
  const auto call = c10::make_intrusive<Call>();
  call->value = value;
  call->f = std::move(f);
  return Recomputed::apply(call, at::TensorList(inputs));
}

}  // namespace taskvec::models
