#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace taskvec::models {

/// `value` as f(inputs) to autograd, without anything that it keeps on the way: the reverse pass computes f once more, for memory
/// of the inputs alone (activation checkpointing; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
/// @param value  f(inputs), computed without recording
/// @param f      of its inputs alone, so that gradients have the same bits; owns what it captures
at::Tensor checkpointed(const at::Tensor& value, std::function<at::Tensor(const std::vector<at::Tensor>& inputs)> f,
                        const std::vector<at::Tensor>& inputs);

}  // namespace taskvec::models
