#include "taskvec/text/bpe.h"

#include "taskvec/core/error.h"
#include "taskvec/text/normalize.h"

#include <algorithm>
#include <queue>

namespace taskvec::text {
namespace {

/// A token of a word in the making: a doubly linked list by index, so that a merge costs the same anywhere.
struct Symbol {
  int64_t id;
  int64_t previous, next;  ///< -1: none
  bool alive = true;
};

struct Candidate {
  int64_t rank, position, id;
  bool operator>(const Candidate& other) const { return std::pair(rank, position) > std::pair(other.rank, other.position); }
};

}  // namespace

Bpe::Bpe(std::unordered_map<std::string, int64_t> vocab, const std::vector<std::pair<std::string, std::string>>& merges,
         int64_t unknown_id, const std::string& origin)
    : vocab_(std::move(vocab)), unknown_id_(unknown_id) {
  const auto id_of = [&](const std::string& token) {
    const int64_t found = id(token);
    if (found < 0) fail(ErrorCode::Format, "a merge makes or uses '{}', which is not in the vocabulary: {}", token, origin);
    return found;
  };
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::pair parts{id_of(left), id_of(right)};  // in order, so that a message does not depend on the compiler
    merges_[parts] = {static_cast<int64_t>(rank), id_of(left + right)};
  }
}

int64_t Bpe::id(const std::string& token) const {
  const auto found = vocab_.find(token);
  return found == vocab_.end() ? -1 : found->second;
}

void Bpe::encode(std::u32string_view word, std::vector<int64_t>& ids) const {
  const auto n = static_cast<int64_t>(word.size());
  std::vector<Symbol> symbols;
  for (int64_t i = 0; i < n; ++i) {
    std::string token = encode_utf8(word.substr(static_cast<size_t>(i), 1));
    if (i == n - 1) token += kEndOfWord;
    const int64_t known = id(token);
    symbols.push_back({known < 0 ? unknown_id_ : known, i - 1, i + 1 < n ? i + 1 : -1});
  }

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int64_t left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const auto& symbol = symbols[static_cast<size_t>(left)];
    const auto merge = merges_.find({symbol.id, symbols[static_cast<size_t>(symbol.next)].id});
    if (merge != merges_.end()) queue.push({merge->second.rank, left, merge->second.id});
  };
  for (int64_t i = 0; i < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.position)];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto merge = merges_.find({left.id, right.id});
    if (merge == merges_.end() || merge->second.id != best.id) continue;  // an older merge has changed this place
    left.id = best.id;
    left.next = right.next;
    right.alive = false;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = best.position;
    offer(left.previous);
    offer(best.position);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

std::vector<std::pair<std::string, std::string>> train_bpe(const std::map<std::u32string, int64_t>& words, int64_t merges) {
  std::vector<std::pair<std::vector<std::string>, int64_t>> corpus;
  for (const auto& [word, count] : words) {
    std::vector<std::string> symbols;
    for (size_t i = 0; i < word.size(); ++i) symbols.push_back(encode_utf8(word.substr(i, 1)));
    if (symbols.empty()) continue;
    symbols.back() += kEndOfWord;
    corpus.emplace_back(std::move(symbols), count);
  }

  std::vector<std::pair<std::string, std::string>> result;
  while (static_cast<int64_t>(result.size()) < merges) {
    std::map<std::pair<std::string, std::string>, int64_t> counts;
    for (const auto& [symbols, count] : corpus) {
      for (size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    }
    const auto best = std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (best == counts.end()) break;  // every word is one token
    const auto pair = best->first;
    result.push_back(pair);
    for (auto& [symbols, count] : corpus) {
      std::vector<std::string> merged;
      for (size_t i = 0; i < symbols.size(); ++i) {
        if (i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second) {
          merged.push_back(pair.first + pair.second);
          ++i;
        } else {
          merged.push_back(symbols[i]);
        }
      }
      symbols = std::move(merged);
    }
  }
  return result;
}

}  // namespace taskvec::text
