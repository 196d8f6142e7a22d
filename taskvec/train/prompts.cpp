#include "taskvec/train/prompts.h"

#include <algorithm>

namespace taskvec::train {

std::string prompt(std::string_view pattern, std::string_view class_name) {
  std::string text(pattern);
  if (const size_t hole = text.find("{}"); hole != std::string::npos) text.replace(hole, 2, class_name);
  return text;
}

at::Tensor encode_prompts(const text::ClipTokenizer& tokenizer, const std::vector<std::string>& texts, int64_t max_length) {
  std::vector<std::vector<int64_t>> rows;
  size_t longest = 1;
  for (const std::string& text : texts) longest = std::max(longest, rows.emplace_back(tokenizer.encode(text, max_length)).size());
  const at::Tensor ids = at::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  for (const auto& row : rows) {
    std::fill(std::copy(row.begin(), row.end(), out), out + longest, row.back());
    out += longest;
  }
  return ids;
}

}  // namespace taskvec::train
