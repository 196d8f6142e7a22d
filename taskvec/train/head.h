#pragma once

#include "taskvec/data/task.h"
#include "taskvec/models/clip.h"

namespace taskvec::train {

/// The zero-shot classification head of CLIP: for each class, every prompt template -> text encoder -> L2-normalise -> mean over
/// the templates -> L2-normalise; times exp(logit_scale). Source: Radford et al. 2021, 3.1.4; Ilharco et al. 2023, appendix B.
/// @return [projection_dim, classes] float32, detached; logits = normalised image features x head
at::Tensor zero_shot_head(const models::Clip& network, const bridge::Params& params, const std::filesystem::path& model_folder,
                          const data::Task& task);

/// logits = L2-normalised image features x head. @param features [batch, dim]. @return [batch, classes]
at::Tensor classify(const at::Tensor& features, const at::Tensor& head);

}  // namespace taskvec::train
