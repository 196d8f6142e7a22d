#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace taskvec::text {

/// A token that is recognised in text as a whole.
struct AddedToken {
  std::string content;
  int64_t id = -1;
  bool normalized = false;              ///< looked for after normalisation rather than before
  bool lstrip = false, rstrip = false;  ///< takes the white space on that side
};

/// What a tokenizer's files say.
struct TokenizerFiles {
  std::string origin;  ///< the file that errors name
  std::unordered_map<std::string, int64_t> vocab;
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<AddedToken> added;
  std::string bos = "<|startoftext|>", eos = "<|endoftext|>", pad = "<|endoftext|>", unknown = "<|endoftext|>";
};

/// Reads tokenizer.json, or vocab.json and merges.txt, and tokenizer_config.json where there is one.
/// @throws Error{NotFound | Format | Unsupported} naming the file
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

/// Of the bytes of the files that read_tokenizer_files() reads; "" where there is no tokenizer. @throws Error{Io}
std::string tokenizer_fingerprint(const std::filesystem::path& folder);

/// Writes a CLIP tokenizer as transformers saves it (tokenizer.json, tokenizer_config.json, special_tokens_map.json) and in the
/// older form (vocab.json, merges.txt).
void write_tokenizer_files(const std::filesystem::path& folder, const std::vector<std::string>& tokens_by_id,
                           const std::vector<std::pair<std::string, std::string>>& merges, int64_t model_max_length);

}  // namespace taskvec::text
