#include "taskvec/train/head.h"

#include "taskvec/core/error.h"
#include "taskvec/text/clip_tokenizer.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace taskvec::train {
namespace {

at::Tensor normalised(const at::Tensor& x) { return x / x.norm(2, -1, /*keepdim=*/true); }

/// The template with the class name in the place of `{}`.
std::string prompt(std::string_view pattern, std::string_view class_name) {
  std::string text(pattern);
  if (const size_t at = text.find("{}"); at != std::string::npos) text.replace(at, 2, class_name);
  return text;
}

/// Token ids of every prompt, class by class, template by template.
std::vector<std::vector<int64_t>> encode_prompts(const models::ClipConfig& config, const std::filesystem::path& model_folder,
                                                 const data::Task& task) {
  if (task.classes.empty() || task.templates.empty()) {
    fail(ErrorCode::InvalidArgument, "task '{}' has {} classes and {} templates; a zero-shot head needs at least one of each",
         task.name, task.classes.size(), task.templates.size());
  }
  const auto tokenizer = text::ClipTokenizer::open(model_folder);
  std::vector<std::vector<int64_t>> prompts;
  for (const std::string& class_name : task.classes) {
    for (const std::string& pattern : task.templates) {
      prompts.push_back(tokenizer.encode(prompt(pattern, class_name), config.max_position_embeddings));
      const int64_t largest = *std::max_element(prompts.back().begin(), prompts.back().end());
      if (largest >= config.vocab_size) {
        fail(ErrorCode::Format, "{}: the tokenizer gives id {}, but the model's vocabulary has {} entries; they do not belong together",
             model_folder.string(), largest, config.vocab_size);
      }
    }
  }
  return prompts;
}

/// [prompts, projection_dim], L2-normalised.
at::Tensor encode_texts(const models::Clip& network, const bridge::Params& params, const std::vector<std::vector<int64_t>>& prompts) {
  constexpr size_t kBatch = 256;
  const at::Device device = params.at("text_projection.weight").device();
  std::vector<at::Tensor> features;
  for (size_t begin = 0; begin < prompts.size(); begin += kBatch) {
    const size_t end = std::min(prompts.size(), begin + kBatch);
    size_t longest = 1;
    for (size_t i = begin; i < end; ++i) longest = std::max(longest, prompts[i].size());
    const at::Tensor ids = at::empty({static_cast<int64_t>(end - begin), static_cast<int64_t>(longest)}, at::kLong);
    for (size_t i = begin; i < end; ++i) {
      // What fills the rest is never seen (attention is causal, the first end is pooled); the end itself suits every config.
      int64_t* row = ids.data_ptr<int64_t>() + (i - begin) * longest;
      std::fill(std::copy(prompts[i].begin(), prompts[i].end(), row), row + longest, prompts[i].back());
    }
    features.push_back(normalised(network.text_features(params, ids.to(device))));
  }
  return at::cat(features);
}

}  // namespace

at::Tensor zero_shot_head(const models::Clip& network, const bridge::Params& params, const std::filesystem::path& model_folder,
                          const data::Task& task) {
  const at::NoGradGuard no_grad;
  const auto prompts = encode_prompts(network.config(), model_folder, task);
  const at::Tensor texts = encode_texts(network, params, prompts);
  const auto classes = static_cast<int64_t>(task.classes.size());
  const at::Tensor means = texts.view({classes, -1, texts.size(1)}).mean(1);
  const at::Tensor head = normalised(means) * params.at("logit_scale").to(texts.scalar_type()).exp();
  return head.t().to(at::kFloat).contiguous();
}

at::Tensor classify(const at::Tensor& features, const at::Tensor& head) { return normalised(features).matmul(head); }

}  // namespace taskvec::train
