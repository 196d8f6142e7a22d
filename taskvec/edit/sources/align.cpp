#include "taskvec/edit/sources/align.h"

#include "taskvec/formats/renamed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <unordered_set>

namespace taskvec::edit {
namespace {

using formats::Checkpoint;
using formats::TensorEntry;
using Tensors = std::vector<TensorEntry>;

/// Components of names that wrappers of a module add.
constexpr std::array<std::string_view, 6> kWrappers{
    "module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module", "_fpw_module"};

/// A name without the wrappers' components.
std::string unwrapped(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t end = std::min(name.find('.'), name.size());
    const std::string_view component = name.substr(0, end);
    const bool last = end == name.size();
    if (last || std::find(kWrappers.begin(), kWrappers.end(), component) == kWrappers.end()) {
      out += component;
      if (!last) out += '.';
    }
    name.remove_prefix(last ? end : end + 1);
  }
  return out;
}

/// A base's names without wrappers -> the entries; nothing where two are the same.
using Canonical = std::unordered_map<std::string, const TensorEntry*>;

/// What a name becomes.
class Renaming {
 public:
  enum class Kind { None, Unwrap, Strip, Add };
  Kind kind = Kind::None;
  std::string prefix;

  /// @param like  the base's names: one that is among them has its prefix already
  std::string operator()(const std::string& name, const Canonical& like) const {
    switch (kind) {
      case Kind::None: return name;
      case Kind::Unwrap: return unwrapped(name);
      case Kind::Strip: return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
      case Kind::Add: return like.contains(name) ? name : prefix + name;
    }
    return name;
  }
};

std::optional<Canonical> canonical(const Tensors& tensors) {
  Canonical out;
  for (const TensorEntry& entry : tensors)
    if (!out.emplace(unwrapped(entry.name), &entry).second) return std::nullopt;
  return out;
}

/// Names and shapes that agree after a renaming. -1 where two tensors would get one name.
int64_t agreement(const Tensors& tensors, const Canonical& like, const Renaming& renaming) {
  std::unordered_set<std::string> seen;
  int64_t agree = 0;
  for (const TensorEntry& entry : tensors) {
    const std::string name = unwrapped(renaming(entry.name, like));
    if (!seen.insert(name).second) return -1;
    const auto found = like.find(name);
    agree += found != like.end() && found->second->info.shape == entry.info.shape ? 1 : 0;
  }
  return agree;
}

/// Prefixes by which a name of one list may differ from one of the other: those that make the longest name of `shorter` that
/// `longer` lacks one of `longer`.
std::vector<std::string> prefixes(const Tensors& shorter, const Tensors& longer) {
  constexpr size_t kMost = 16;
  std::string name;
  std::unordered_set<std::string> there;
  for (const TensorEntry& entry : longer) there.insert(unwrapped(entry.name));
  for (const TensorEntry& entry : shorter)
    if (const std::string candidate = unwrapped(entry.name); candidate.size() > name.size() && !there.contains(candidate))
      name = candidate;
  std::vector<std::string> found;
  for (const TensorEntry& entry : longer) {
    const std::string candidate = unwrapped(entry.name);
    if (name.empty() || found.size() == kMost || !candidate.ends_with("." + name)) continue;
    found.push_back(candidate.substr(0, candidate.size() - name.size()));
  }
  return found;
}

/// The prefix that makes most names agree.
Renaming find_prefix(const Tensors& tensors, const Tensors& like_tensors, const Canonical& like) {
  std::vector<Renaming> candidates;
  for (const std::string& prefix : prefixes(like_tensors, tensors)) candidates.push_back({Renaming::Kind::Strip, prefix});
  for (const std::string& prefix : prefixes(tensors, like_tensors)) candidates.push_back({Renaming::Kind::Add, prefix});
  Renaming best;
  int64_t most = 0;
  bool ambiguous = false;
  for (const Renaming& candidate : candidates) {
    Tensors plain = tensors;
    for (TensorEntry& entry : plain) entry.name = unwrapped(entry.name);
    const int64_t agree = agreement(plain, like, candidate);
    ambiguous = agree == most ? ambiguous || most > 0 : ambiguous && agree < most;
    if (agree <= most) continue;
    most = agree;
    best = candidate;
    ambiguous = false;
  }
  const auto smaller = static_cast<int64_t>(std::min(tensors.size(), like_tensors.size()));
  return ambiguous || 2 * most < smaller ? Renaming{} : best;
}

/// The wrappers that names have and others lack, for people.
std::string wrappers_in(const Tensors& tensors) {
  std::string words;
  for (const std::string_view wrapper : kWrappers) {
    const auto has = [&](const TensorEntry& entry) {
      return entry.name.starts_with(std::string(wrapper) + ".") ||
             entry.name.find(fmt::format(".{}.", wrapper)) != std::string::npos;
    };
    if (std::any_of(tensors.begin(), tensors.end(), has)) words += fmt::format("{}'{}.'", words.empty() ? "" : " and ", wrapper);
  }
  return words;
}

}  // namespace

Aligned align_names(std::shared_ptr<const Checkpoint> checkpoint, const Checkpoint& like, const std::string& label) {
  const Tensors &tensors = checkpoint->manifest().tensors, &like_tensors = like.manifest().tensors;
  int64_t now = 0;
  for (const TensorEntry& entry : tensors) {
    const TensorEntry* other = like.manifest().find(entry.name);
    now += other != nullptr && other->info.shape == entry.info.shape ? 1 : 0;
  }
  const auto base = canonical(like_tensors);
  if (!base || now == static_cast<int64_t>(tensors.size())) return {std::move(checkpoint), {}};

  Renaming prefix;
  int64_t agree = agreement(tensors, *base, {Renaming::Kind::Unwrap, ""});
  if (agree < static_cast<int64_t>(tensors.size())) {
    const Renaming found = find_prefix(tensors, like_tensors, *base);
    const bool none = agree <= 0 && now == 0;
    if (none && found.kind == Renaming::Kind::None) return {std::move(checkpoint), {}};
    // Beside names that agree as they are (a head on a wrapped backbone), a prefix has to explain all the others.
    const auto smaller = static_cast<int64_t>(std::min(tensors.size(), like_tensors.size()));
    Tensors plain = tensors;
    for (TensorEntry& entry : plain) entry.name = unwrapped(entry.name);
    if (found.kind != Renaming::Kind::None && (none || agreement(plain, *base, found) == smaller)) {
      prefix = found;
      agree = std::max(agree, now) + 1;
    }
  }
  if (agree <= now) return {std::move(checkpoint), {}};

  std::vector<std::pair<std::string, const TensorEntry*>> renamed;
  for (const TensorEntry& entry : tensors) {
    const std::string plain = unwrapped(entry.name), name = prefix(plain, *base);
    const auto found = base->find(name);
    // Under exactly the base's name where it has one.
    renamed.emplace_back(found != base->end() ? found->second->name : name, &entry);
  }
  Aligned aligned;
  if (const std::string own = wrappers_in(tensors), others = wrappers_in(like_tensors); own != others)
    aligned.notes.push_back(own.empty() ? fmt::format("{} is read with names as in the base, which has {} in them", label, others)
                                        : fmt::format("{} is read without {} in its names", label, own));
  if (prefix.kind == Renaming::Kind::Strip)
    aligned.notes.push_back(fmt::format("{} is read without the prefix '{}' of its names", label, prefix.prefix));
  if (prefix.kind == Renaming::Kind::Add)
    aligned.notes.push_back(
        fmt::format("{} is read with the prefix '{}' before its names, as in the base", label, prefix.prefix));
  aligned.checkpoint = formats::renamed(std::move(checkpoint), renamed);
  return aligned;
}

bool is_constant_buffer(const TensorEntry& entry) {
  if (!is_float(entry.info.dtype)) return true;
  const std::string_view name = entry.name;
  const std::string_view last = name.substr(name.rfind('.') + 1);
  for (const std::string_view known : {"position_ids", "inv_freq", "original_inv_freq", "masked_bias", "attn_mask", "causal_mask",
                                       "cos_cached", "sin_cached", "relative_position_index"})
    if (last == known) return true;
  // GPT-2's causal mask, and others' like it.
  const auto& shape = entry.info.shape;
  return (name.ends_with("attn.bias") || name.ends_with("attention.bias")) && shape.size() == 4 && shape[0] == 1 &&
         shape[1] == 1 && shape[2] == shape[3];
}

std::string names_differ(const Checkpoint& a, const Checkpoint& b) {
  const Tensors &x = a.manifest().tensors, &y = b.manifest().tensors;
  if (x.empty() || y.empty()) return "one of them holds no tensor";
  for (const auto& [shorter, longer, path] : {std::tuple{&x, &y, b.path()}, std::tuple{&y, &x, a.path()}})
    if (const auto found = prefixes(*shorter, *longer); !found.empty())
      return fmt::format("the names in {} have '{}' in front", path.string(), found.front());
  return fmt::format("names are like '{}' in the one and '{}' in the other; --map auto knows other programs' names",
                     x.front().name, y.front().name);
}

}  // namespace taskvec::edit
