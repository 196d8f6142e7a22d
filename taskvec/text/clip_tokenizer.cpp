#include "taskvec/text/clip_tokenizer.h"

#include "taskvec/core/error.h"
#include "taskvec/text/bpe.h"
#include "taskvec/text/normalize.h"
#include "taskvec/text/tokenizer_files.h"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace taskvec::text {
namespace {

/// Added tokens, to be looked for at every place of a text in a time that the longest of them bounds: a trie, its edges in one
/// table.
class Patterns {
 public:
  void add(const std::u32string& content, const AddedToken& token) {
    uint64_t node = 0;
    for (const char32_t c : content) node = edges_.try_emplace(edge(node, c), edges_.size() + 1).first->second;
    tokens_.try_emplace(node, token);  // of two with one content the first counts
    if (content.size() > kMaxLength)
      fail(ErrorCode::Format, "an added token of {} characters; at most {} are expected", content.size(), kMaxLength);
  }

  /// The longest one that begins at text[from], and its length; null where there is none.
  std::pair<const AddedToken*, size_t> longest(std::u32string_view text, size_t from) const {
    std::pair<const AddedToken*, size_t> best{nullptr, 0};
    uint64_t node = 0;
    for (size_t i = from; i < text.size(); ++i) {
      const auto next = edges_.find(edge(node, text[i]));
      if (next == edges_.end()) break;
      node = next->second;
      if (const auto token = tokens_.find(node); token != tokens_.end()) best = {&token->second, i + 1 - from};
    }
    return best;
  }

 private:
  static constexpr size_t kMaxLength = 256;  // characters; a place of the text costs so many steps at most
  static uint64_t edge(uint64_t node, char32_t c) { return node << 21 | c; }  // a code point has 21 bits

  std::unordered_map<uint64_t, uint64_t> edges_;
  std::unordered_map<uint64_t, AddedToken> tokens_;
};

/// A stretch of text, or the added token that was found there.
struct Piece {
  std::u32string text;
  const AddedToken* token = nullptr;
};

/// Cuts the added tokens out of a text: leftmost first, the longest where several start at one place.
std::vector<Piece> extract(std::u32string_view text, const Patterns& patterns) {
  std::vector<Piece> pieces;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const auto [best, length] = patterns.longest(text, i);
    if (best == nullptr) {
      ++i;
      continue;
    }
    size_t start = i, end = i + length;
    while (best->lstrip && start > begin && is_space(text[start - 1])) --start;
    while (best->rstrip && end < text.size() && is_space(text[end])) ++end;
    if (start > begin) pieces.push_back({std::u32string(text.substr(begin, start - begin))});
    pieces.push_back({{}, best});
    begin = i = end;
  }
  if (begin < text.size()) pieces.push_back({std::u32string(text.substr(begin))});
  return pieces;
}

}  // namespace

struct ClipTokenizer::State {
  Bpe bpe;
  Patterns raw, normalized;
  int64_t vocab_size = 0, bos = 0, eos = 0, pad = 0;
};

ClipTokenizer::ClipTokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ClipTokenizer::ClipTokenizer(ClipTokenizer&&) noexcept = default;
ClipTokenizer::~ClipTokenizer() = default;

ClipTokenizer ClipTokenizer::open(const std::filesystem::path& folder) {
  TokenizerFiles files = read_tokenizer_files(folder);
  const auto id_of = [&](const std::string& token) {
    for (const AddedToken& added : files.added) {
      if (added.content == token) return added.id;
    }
    const auto found = files.vocab.find(token);
    if (found == files.vocab.end()) {
      fail(ErrorCode::Format, "{}: not a CLIP tokenizer: the special token '{}' is not in the vocabulary", files.origin, token);
    }
    return found->second;
  };
  const int64_t bos = id_of(files.bos), eos = id_of(files.eos), pad = id_of(files.pad), unknown = id_of(files.unknown);
  for (const std::string& name : {files.bos, files.eos, files.pad, files.unknown}) {
    const bool known = std::ranges::any_of(files.added, [&](const AddedToken& t) { return t.content == name; });
    if (!known) files.added.push_back({name, id_of(name)});
  }

  Patterns raw, normalized;
  std::set<int64_t> ids;
  for (const auto& [token, id] : files.vocab) ids.insert(id);
  for (const AddedToken& token : files.added) {
    ids.insert(token.id);
    const std::u32string content = decode_utf8(token.content);
    if (token.normalized) {
      normalized.add(normalize(content), token);
    } else {
      raw.add(content, token);
    }
  }
  Bpe bpe(std::move(files.vocab), files.merges, unknown, files.origin);
  return ClipTokenizer(std::make_unique<State>(
      State{std::move(bpe), std::move(raw), std::move(normalized), static_cast<int64_t>(ids.size()), bos, eos, pad}));
}

std::vector<int64_t> ClipTokenizer::encode(std::string_view text, int64_t max_length) const {
  if (max_length < 2) fail(ErrorCode::InvalidArgument, "a tokenizer's max_length is at least 2, got {}", max_length);
  std::vector<int64_t> ids{state_->bos};
  for (const Piece& piece : extract(decode_utf8(text), state_->raw)) {
    if (piece.token) {
      ids.push_back(piece.token->id);
      continue;
    }
    for (const Piece& part : extract(normalize(piece.text), state_->normalized)) {
      if (part.token) {
        ids.push_back(part.token->id);
        continue;
      }
      for (const std::u32string_view word : split_words(part.text)) state_->bpe.encode(byte_level(word), ids);
    }
  }
  ids.resize(std::min(ids.size(), static_cast<size_t>(max_length - 1)));
  ids.push_back(state_->eos);
  return ids;
}

int64_t ClipTokenizer::vocab_size() const { return state_->vocab_size; }
int64_t ClipTokenizer::bos_token_id() const { return state_->bos; }
int64_t ClipTokenizer::eos_token_id() const { return state_->eos; }
int64_t ClipTokenizer::pad_token_id() const { return state_->pad; }

int64_t train_clip_tokenizer(const std::vector<std::string>& texts, int64_t merges, int64_t model_max_length,
                             const std::filesystem::path& folder) {
  std::map<std::u32string, int64_t> words;
  for (const std::string& text : texts) {
    const std::u32string normalized = normalize(decode_utf8(text));
    for (const std::u32string_view word : split_words(normalized)) ++words[byte_level(word)];
  }
  const auto learned = train_bpe(words, merges);

  // CLIP's order: the printable bytes first, then the others; all of them again as ends of words; merges; special tokens.
  std::u32string bytes = byte_level_alphabet();
  std::sort(bytes.begin(), bytes.end());
  std::vector<std::string> tokens;
  for (const char32_t c : bytes) tokens.push_back(encode_utf8(std::u32string_view(&c, 1)));
  for (size_t i = 0; i < 256; ++i) tokens.push_back(tokens[i] + kEndOfWord);
  std::set<std::string> known(tokens.begin(), tokens.end());
  for (const auto& [left, right] : learned) {
    if (known.insert(left + right).second) tokens.push_back(left + right);
  }
  tokens.insert(tokens.end(), {"<|startoftext|>", "<|endoftext|>"});
  write_tokenizer_files(folder, tokens, learned, model_max_length);
  return static_cast<int64_t>(tokens.size());
}

}  // namespace taskvec::text
