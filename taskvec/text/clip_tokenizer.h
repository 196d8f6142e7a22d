#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::text {

/// CLIP's byte-level BPE tokenizer, equal to transformers' CLIPTokenizer for the same files.
/// Threads: encode() may be called from any thread.
class ClipTokenizer {
 public:
  /// From a folder with tokenizer.json, or with vocab.json and merges.txt. @throws Error{NotFound | Format} naming the file.
  static ClipTokenizer open(const std::filesystem::path& folder);
  ClipTokenizer(ClipTokenizer&&) noexcept;
  ~ClipTokenizer();

  /// Token ids with <|startoftext|> and <|endoftext|>, truncated to `max_length` (the last stays <|endoftext|>); not padded.
  /// Invalid UTF-8 is replaced by U+FFFD.
  std::vector<int64_t> encode(std::string_view text, int64_t max_length) const;
  int64_t vocab_size() const;
  int64_t bos_token_id() const;
  int64_t eos_token_id() const;
  int64_t pad_token_id() const;

 private:
  struct State;
  explicit ClipTokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Learns `merges` byte-level BPE merges from texts (ties broken by the pair's text, so the result is a function of its
/// input) and writes a complete CLIP tokenizer that transformers loads: vocab.json, merges.txt, tokenizer_config.json,
/// special_tokens_map.json, tokenizer.json. Vocabulary: 256 bytes, 256 bytes with </w>, the merges, <|startoftext|>,
/// <|endoftext|>.
/// @return vocabulary size
int64_t train_clip_tokenizer(const std::vector<std::string>& texts, int64_t merges, int64_t model_max_length,
                             const std::filesystem::path& folder);

}  // namespace taskvec::text
