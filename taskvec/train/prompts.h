#pragma once

#include "taskvec/text/clip_tokenizer.h"

#include <ATen/ATen.h>

#include <string>
#include <string_view>
#include <vector>

namespace taskvec::train {

/// The prompt template with the class name in the place of `{}`.
std::string prompt(std::string_view pattern, std::string_view class_name);

/// Token ids of several texts as one batch, rows filled up with their own last token: attention is causal and the first end token
/// is pooled, so what follows it is never seen.
/// @return [texts, longest] int64
at::Tensor encode_prompts(const text::ClipTokenizer& tokenizer, const std::vector<std::string>& texts, int64_t max_length);

}  // namespace taskvec::train
