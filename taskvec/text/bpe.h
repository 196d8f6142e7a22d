#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace taskvec::text {

/// Byte pair encoding with an end-of-word suffix: the tokens of a word are found by applying the merge of lowest rank, leftmost
/// first, until none applies (Sennrich et al. 2016; the order is that of the tokenizers library).
class Bpe {
 public:
  /// @param vocab   token text (UTF-8) -> id
  /// @param merges  pairs in the order of their rank
  /// @param origin  file that error messages name. @throws Error{Format} naming a merge whose parts or result have no id
  Bpe(std::unordered_map<std::string, int64_t> vocab, const std::vector<std::pair<std::string, std::string>>& merges,
      int64_t unknown_id, const std::string& origin);

  /// Appends the token ids of one word of byte-level characters.
  void encode(std::u32string_view word, std::vector<int64_t>& ids) const;
  /// Id of a token, or -1.
  int64_t id(const std::string& token) const;

 private:
  struct Merge {
    int64_t rank, id;
  };
  struct PairHash {
    size_t operator()(const std::pair<int64_t, int64_t>& p) const {
      return std::hash<uint64_t>{}(static_cast<uint64_t>(p.first) * 0x9E3779B97F4A7C15ULL ^ static_cast<uint64_t>(p.second));
    }
  };
  std::unordered_map<std::string, int64_t> vocab_;
  std::unordered_map<std::pair<int64_t, int64_t>, Merge, PairHash> merges_;
  int64_t unknown_id_;
};

/// Learns merges from words (byte-level characters) with their counts: the most frequent pair each time, ties broken by the
/// pair's text.
std::vector<std::pair<std::string, std::string>> train_bpe(const std::map<std::u32string, int64_t>& words, int64_t merges);

inline constexpr const char* kEndOfWord = "</w>";

}  // namespace taskvec::text
