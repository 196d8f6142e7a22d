#include "taskvec/formats/names.h"

#include "taskvec/core/bounded_json.h"
#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/formats/name_tables.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <set>

namespace taskvec::formats {
namespace {

using Origin = MappedNames::Origin;

constexpr std::string_view kBack = ":back", kLetters = "qkv";
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

struct Match {
  std::string_view number, rest;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// What `#` and `*` of a pattern stand for in a name.
std::optional<Match> match(std::string_view pattern, std::string_view name) {
  Match found;
  while (!pattern.empty()) {
    if (pattern.front() == '#') {
      const auto end = std::find_if_not(name.begin(), name.end(), is_digit);
      found.number = name.substr(0, static_cast<size_t>(end - name.begin()));
      if (found.number.empty()) return std::nullopt;
      name.remove_prefix(found.number.size());
    } else if (pattern.front() == '*') {
      const std::string_view tail = pattern.substr(1);
      if (name.size() < tail.size() || !name.ends_with(tail)) return std::nullopt;
      found.rest = name.substr(0, name.size() - tail.size());
      return found;
    } else {
      if (name.empty() || name.front() != pattern.front()) return std::nullopt;
      name.remove_prefix(1);
    }
    pattern.remove_prefix(1);
  }
  return name.empty() ? std::optional(found) : std::nullopt;
}

std::string fill(std::string_view pattern, const Match& found) {
  std::string out;
  for (const char c : pattern) {
    if (c == '#') {
      out += found.number;
    } else if (c == '*') {
      out += found.rest;
    } else {
      out += c;
    }
  }
  return out;
}

std::string with_letter(std::string_view pattern, char letter) {
  std::string out(pattern);
  std::replace(out.begin(), out.end(), '?', letter);
  return out;
}

/// Makes the manifest of a checkpoint under another table's names.
class Mapper {
 public:
  Mapper(std::shared_ptr<const Checkpoint> inner, const NameTable& table, bool back)
      : inner_(std::move(inner)), table_(table), back_(back) {}

  std::shared_ptr<const Checkpoint> make() {
    for (const auto& entry : inner_->manifest().tensors) add(entry);
    const std::string map = std::string(table_.name) + std::string(back_ ? kBack : "");
    if (known_ == 0)
      fail(ErrorCode::InvalidArgument, "{}: the map {} ({}) knows none of the tensors, e.g. not '{}'", path(), map, table_.what,
           inner_->manifest().tensors.empty() ? "" : inner_->manifest().tensors.front().name);
    for (auto& [name, fused] : fused_) finish_fused(name, fused);
    const auto& of = inner_->manifest();
    manifest_.format = fmt::format("{} under other names ({})", of.format, map);
    manifest_.metadata = of.metadata;
    manifest_.sidecars = of.sidecars;
    manifest_.delta = of.delta;
    manifest_.codes = of.codes;
    if (files_.empty()) manifest_.files = of.files;
    return std::make_shared<MappedNames>(inner_, map, std::move(manifest_), std::move(files_), std::move(origins_));
  }

 private:
  using Fused = std::array<const TensorEntry*, 3>;

  std::string path() const { return inner_->path().string(); }

  void add(const TensorEntry& entry) {
    std::string_view name = entry.name;
    if (!back_ && !name.starts_with(table_.prefix)) return rename(entry, entry.name);
    if (!back_) name.remove_prefix(table_.prefix.size());
    for (const auto& rule : table_.rules) {
      if (rule.relation == Relation::Fused && back_) {
        for (size_t i = 0; i < kLetters.size(); ++i) {
          const auto found = match(with_letter(rule.ours, kLetters[i]), name);
          if (!found) continue;
          ++known_;
          const std::string fused = std::string(table_.prefix) + fill(rule.foreign, *found);
          if (!fused_.contains(fused)) order_of(fused);
          fused_[fused][i] = &entry;
          return;
        }
        continue;
      }
      const auto found = match(back_ ? rule.ours : rule.foreign, name);
      if (!found) continue;
      ++known_;
      return apply(entry, rule, *found);
    }
    rename(entry, entry.name);
  }

  void apply(const TensorEntry& entry, const NameRule& rule, const Match& found) {
    const std::string name = back_ ? std::string(table_.prefix) + fill(rule.foreign, found) : fill(rule.ours, found);
    switch (rule.relation) {
      case Relation::Same: return rename(entry, name);
      case Relation::Fused: return split(entry, name);
      case Relation::Transposed: {
        if (entry.info.shape.size() != 2) refuse(entry, "is to be transposed, so it should be a matrix");
        TensorInfo info = entry.info;
        std::swap(info.shape[0], info.shape[1]);
        return push(name, info, {whole(entry)}, Origin::Order::Transposed);
      }
      case Relation::RotaryQ: return permute(entry, name, {"llama.attention.head_count"}, {"num_attention_heads"});
      case Relation::RotaryK:
        return permute(entry, name, {"llama.attention.head_count_kv", "llama.attention.head_count"},
                       {"num_key_value_heads", "num_attention_heads"});
    }
  }

  void rename(const TensorEntry& entry, const std::string& name) { push(name, entry.info, {whole(entry)}, Origin::Order::Rows); }

  void split(const TensorEntry& entry, const std::string& name) {
    if (entry.info.shape.empty() || entry.info.shape[0] % 3 != 0)
      refuse(entry, "holds q, k and v, so its first dimension should be a multiple of 3");
    TensorInfo info = entry.info;
    info.shape[0] /= 3;
    const auto size = static_cast<uint64_t>(info.nbytes());
    for (size_t i = 0; i < kLetters.size(); ++i)
      push(with_letter(name, kLetters[i]), info, {{&entry, i * size, size}}, Origin::Order::Rows);
  }

  /// Holds a fused tensor's place among the others until all of its parts are known.
  void order_of(const std::string& fused) { push(fused, {}, {}, Origin::Order::Rows); }

  void finish_fused(const std::string& name, const Fused& fused) {
    const auto place = static_cast<size_t>(
        std::find_if(manifest_.tensors.begin(), manifest_.tensors.end(), [&](const auto& t) { return t.name == name; }) -
        manifest_.tensors.begin());
    for (size_t i = 0; i < fused.size(); ++i) {
      if (fused[i] == nullptr) fail(ErrorCode::Format, "{}: '{}' needs q, k and v, but {} is missing", path(), name, kLetters[i]);
      if (fused[i]->info != fused[0]->info) refuse(*fused[i], fmt::format("should be like '{}'", fused[0]->name));
      if (fused[i]->info.shape.empty()) refuse(*fused[i], "should have rows");
      origins_[place].parts.push_back(whole(*fused[i]));
    }
    TensorEntry& entry = manifest_.tensors[place];
    entry.info = fused[0]->info;
    if (__builtin_mul_overflow(entry.info.shape[0], 3, &entry.info.shape[0])) refuse(*fused[0], "is too large");
    entry.as_is = false;
  }

  using Keys = std::initializer_list<const char*>;

  /// @param metadata_keys, config_keys  the first that is there has the number of heads: in llama.cpp's file, or in Hugging
  ///                                    Face's config.json
  void permute(const TensorEntry& entry, const std::string& name, Keys metadata_keys, Keys config_keys) {
    const int64_t heads = back_ ? heads_in_config(config_keys) : heads_in_metadata(metadata_keys);
    if (heads <= 0)
      fail(ErrorCode::Unsupported,
           "{}: the rows of '{}' are permuted within each head between llama.cpp's and Hugging Face's Llama; {}", path(),
           entry.name,
           back_ ? fmt::format("a config.json beside the weights should say model_type llama and {}", *config_keys.begin())
                 : fmt::format("the metadata should say general.architecture llama and {}", *metadata_keys.begin()));
    if (entry.info.shape.empty() || entry.info.shape[0] % heads != 0 || entry.info.shape[0] / heads % 2 != 0)
      refuse(entry, fmt::format("should have an even number of rows for each of {} heads", heads));
    push(name, entry.info, {whole(entry)}, back_ ? Origin::Order::RotaryBack : Origin::Order::Rotary, heads);
  }

  /// 0 where they do not tell.
  int64_t heads_in_metadata(Keys keys) const {
    const auto& metadata = inner_->manifest().metadata;
    const auto text = [&](const char* key) { return metadata.contains(key) ? metadata.at(key) : std::string(); };
    if (text("general.architecture") != "llama") return 0;
    for (const char* key : keys) {
      const std::string number = text(key);
      int64_t heads = 0;
      std::from_chars(number.data(), number.data() + number.size(), heads);
      if (!number.empty()) return heads;
    }
    return 0;
  }
  int64_t heads_in_config(Keys keys) {
    if (!config_) {
      config_.emplace(nlohmann::json::value_t::discarded);
      for (const auto& file : inner_->manifest().sidecars)
        if (file.filename() == "config.json") *config_ = parse_bounded_json(read_file(file, kMaxConfigBytes));
    }
    if (!config_->is_object() || config_->value("model_type", nlohmann::json()) != "llama") return 0;
    for (const char* key : keys)
      if (config_->contains(key)) return config_->at(key).is_number_integer() ? config_->at(key).get<int64_t>() : 0;
    return 0;
  }

  static Origin::Part whole(const TensorEntry& entry) { return {&entry, 0, static_cast<uint64_t>(entry.info.nbytes())}; }

  void push(std::string name, TensorInfo info, std::vector<Origin::Part> parts, Origin::Order order, int64_t heads = 1) {
    if (!names_.insert(name).second)
      fail(ErrorCode::Format, "{}: under the names of {} two tensors would be called '{}'", path(), table_.name, name);
    TensorEntry entry{std::move(name), std::move(info), 0, 0, /*as_is=*/false};
    if (parts.size() == 1 && parts[0].entry->as_is && order == Origin::Order::Rows) {
      entry.as_is = true;
      entry.offset = parts[0].entry->offset + parts[0].offset;
      entry.file = file_of(*parts[0].entry);
    }
    manifest_.tensors.push_back(std::move(entry));
    origins_.push_back({std::move(parts), order, heads});
  }

  int file_of(const TensorEntry& entry) {
    auto file = inner_->tensor(entry.name).file;
    const auto found = std::find(files_.begin(), files_.end(), file);
    const auto index = static_cast<int>(found - files_.begin());
    if (found == files_.end()) {
      manifest_.files.push_back(file->path());
      files_.push_back(std::move(file));
    }
    return index;
  }

  [[noreturn]] void refuse(const TensorEntry& entry, const std::string& why) const {
    fail(ErrorCode::Format, "{}: tensor '{}' {} {}, but it is {} {}", path(), entry.name,
         "under the map " + std::string(table_.name), why, taskvec::name(entry.info.dtype), to_string(entry.info.shape));
  }

  std::shared_ptr<const Checkpoint> inner_;
  const NameTable& table_;
  bool back_;
  int64_t known_ = 0;
  Manifest manifest_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<Origin> origins_;
  std::set<std::string> names_;
  std::map<std::string, Fused> fused_;
  std::optional<nlohmann::json> config_;  // what lies beside the weights; discarded where there is none
};

/// Names and shapes that two checkpoints share.
int64_t agreement(const Checkpoint& a, const Checkpoint& b) {
  return std::count_if(a.manifest().tensors.begin(), a.manifest().tensors.end(), [&](const TensorEntry& entry) {
    const auto* other = b.manifest().find(entry.name);
    return other != nullptr && other->info.shape == entry.info.shape;
  });
}

}  // namespace

std::vector<std::string> name_maps() {
  std::vector<std::string> names;
  for (const auto& table : kNameTables) {
    names.emplace_back(table.name);
    names.push_back(std::string(table.name) + std::string(kBack));
  }
  return names;
}

std::shared_ptr<const Checkpoint> map_names(std::shared_ptr<const Checkpoint> checkpoint, std::string_view map) {
  const bool back = map.ends_with(kBack);
  const std::string_view name = back ? map.substr(0, map.size() - kBack.size()) : map;
  for (const auto& table : kNameTables)
    if (table.name == name) return Mapper(std::move(checkpoint), table, back).make();
  const auto known = name_maps();
  fail(ErrorCode::InvalidArgument, "there is no name map '{}'{}; there are: {}", map, did_you_mean(map, known),
       fmt::join(known, ", "));
}

std::shared_ptr<const Checkpoint> match_names(std::shared_ptr<const Checkpoint> checkpoint, const Checkpoint& like,
                                              std::string_view map) {
  auto best = checkpoint;
  int64_t most = agreement(*checkpoint, like);
  std::vector<std::string> candidates = name_maps();
  if (map != "auto") {
    const auto found = std::find(candidates.begin(), candidates.end(), map);
    if (found == candidates.end()) return map_names(std::move(checkpoint), map);  // says that there is no such map
    candidates = map.ends_with(kBack) ? std::vector{*found} : std::vector{*found, *found + std::string(kBack)};
  }
  for (const auto& candidate : candidates) {
    try {
      auto mapped = map_names(checkpoint, candidate);
      if (const int64_t agree = agreement(*mapped, like); agree > most) {
        most = agree;
        best = std::move(mapped);
      }
    } catch (const Error& error) {  // not this one
      if (map != "auto" && error.code() == ErrorCode::Unsupported) throw;
    }
  }
  return best;
}

std::shared_ptr<const Checkpoint> guess_names(std::shared_ptr<const Checkpoint> checkpoint) {
  auto best = checkpoint;
  int64_t most = 0;
  for (const auto& table : kNameTables) {
    try {
      auto mapped = map_names(checkpoint, table.name);
      const auto& tensors = mapped->manifest().tensors;
      const int64_t changed = std::count_if(tensors.begin(), tensors.end(), [&](const TensorEntry& entry) {
        return checkpoint->manifest().find(entry.name) == nullptr;
      });
      if (changed <= most) continue;
      most = changed;
      best = std::move(mapped);
    } catch (const Error&) {
      continue;  // not this one
    }
  }
  return best;
}

std::string map_of(const Checkpoint& checkpoint) {
  const auto* mapped = dynamic_cast<const MappedNames*>(&checkpoint);
  return mapped == nullptr ? "" : mapped->map();
}

MappedNames::MappedNames(std::shared_ptr<const Checkpoint> inner, std::string map, Manifest manifest,
                         std::vector<std::shared_ptr<const MappedFile>> files, std::vector<Origin> origins)
    : Checkpoint(inner->path(), std::move(manifest), std::move(files)),
      inner_(std::move(inner)),
      map_(std::move(map)),
      origins_(std::move(origins)) {}

void MappedNames::check_unchanged() const { inner_->check_unchanged(); }

void MappedNames::make(const TensorEntry& entry, uint64_t offset, std::span<std::byte> out) const {
  const Origin& origin = origins_[manifest().index.at(entry.name)];
  if (origin.order == Origin::Order::Rows) {
    for (const auto& part : origin.parts) {
      const uint64_t skip = std::min(offset, part.size), n = std::min<uint64_t>(part.size - skip, out.size());
      offset -= skip;
      if (n == 0) continue;
      const TensorRange range(*inner_, *part.entry, part.offset + skip, n);
      std::ranges::copy(range.bytes(), out.begin());
      out = out.subspan(n);
    }
    return;
  }
  const auto item = static_cast<uint64_t>(itemsize(entry.info.dtype));
  const auto rows = static_cast<uint64_t>(entry.info.shape[0]);
  const TensorEntry& source = *origin.parts[0].entry;
  if (origin.order == Origin::Order::Transposed) {
    // Whole elements of a small matrix (a projection), gathered from all of it.
    const TensorRange range(*inner_, source, 0, origin.parts[0].size);
    const uint64_t columns = static_cast<uint64_t>(entry.info.shape[1]);
    for (uint64_t i = 0; i < out.size() / item; ++i) {
      const uint64_t element = offset / item + i, at = (element % columns * rows + element / columns) * item;
      std::memcpy(out.data() + i * item, range.bytes().data() + at, item);
    }
    return;
  }
  // Row (head, half, i) of Hugging Face's is row (head, i, half) of llama.cpp's, and the other way round.
  const uint64_t width = rows == 0 ? 0 : origin.parts[0].size / rows, head = rows / static_cast<uint64_t>(origin.heads);
  while (!out.empty()) {
    const uint64_t row = offset / width, column = offset % width, within = row % head;
    const uint64_t inner = origin.order == Origin::Order::Rotary ? head / 2 : 2, outer = head / inner;
    const uint64_t from = row - within + within % inner * outer + within / inner;
    const uint64_t n = std::min<uint64_t>(width - column, out.size());
    const TensorRange range(*inner_, source, from * width + column, n);
    std::ranges::copy(range.bytes(), out.begin());
    out = out.subspan(n);
    offset += n;
  }
}

}  // namespace taskvec::formats
