#include "taskvec/train/head.h"

#include "taskvec/core/error.h"
#include "taskvec/train/prompts.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace taskvec::train {
namespace {

at::Tensor normalised(const at::Tensor& x) { return x / x.norm(2, -1, /*keepdim=*/true); }

/// Every prompt, class by class, template by template.
std::vector<std::string> prompts_of(const data::Task& task) {
  if (task.classes.empty() || task.templates.empty()) {
    fail(ErrorCode::InvalidArgument, "task '{}' has {} classes and {} templates; a zero-shot head needs at least one of each",
         task.name, task.classes.size(), task.templates.size());
  }
  std::vector<std::string> texts;
  for (const std::string& class_name : task.classes) {
    for (const std::string& pattern : task.templates) texts.push_back(prompt(pattern, class_name));
  }
  return texts;
}

}  // namespace

at::Tensor zero_shot_head(const models::Clip& network, const bridge::Params& params, const std::filesystem::path& model_folder,
                          const data::Task& task) {
  constexpr size_t kBatch = 256;
  const at::NoGradGuard no_grad;
  const at::NoTF32Guard float32;  // whatever the image encoder computes in
  const std::vector<std::string> texts = prompts_of(task);
  const auto tokenizer = text::ClipTokenizer::open(model_folder);
  const at::Device device = params.at("text_projection.weight").device();
  std::vector<at::Tensor> features;
  for (size_t begin = 0; begin < texts.size(); begin += kBatch) {
    const std::vector<std::string> batch(texts.begin() + static_cast<std::ptrdiff_t>(begin),
                                         texts.begin() + static_cast<std::ptrdiff_t>(std::min(texts.size(), begin + kBatch)));
    const at::Tensor ids = encode_prompts(tokenizer, batch, network.config().max_position_embeddings);
    features.push_back(normalised(network.text_features(params, ids.to(device))));
  }
  const at::Tensor all = at::cat(features);  // [classes * templates, dim]
  const at::Tensor means = all.view({static_cast<int64_t>(task.classes.size()), -1, all.size(1)}).mean(1);
  const at::Tensor head = normalised(means) * params.at("logit_scale").to(all.scalar_type()).exp();
  return head.t().to(at::kFloat).contiguous();
}

at::Tensor classify(const at::Tensor& features, const at::Tensor& head) {
  return normalised(features.to(head.scalar_type())).matmul(head);
}

}  // namespace taskvec::train
