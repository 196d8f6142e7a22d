#include "taskvec/formats/pytorch/torch_object.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/pytorch/torch_tensor.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace taskvec::formats {
namespace {

constexpr size_t kMaxDepth = 64;  // of nested dicts, lists and modules
// A pickle that shares parts is a graph: a walk over it may be exponentially longer than the pickle.
constexpr size_t kMaxVisits = size_t{1} << 23, kVisitsPerValue = 64, kVisitsPerTensor = 8;
constexpr size_t kMaxName = 4096, kMaxNames = size_t{1} << 28;  // bytes of one, and of those of all tensors
constexpr int kMaxWrappings = 8;                                // {"model": {"state_dict": ...}}
constexpr size_t kMaxListed = 20;

/// Where training scripts put the model, the surest first.
constexpr std::array<std::string_view, 4> kModelKeys{"state_dict", "model_state_dict", "model", "module"};

using Pairs = std::vector<std::pair<PickleId, PickleId>>;

class ObjectReader {
 public:
  ObjectReader(const Pickle& pickle, std::string_view where) : pickle_(pickle), where_(where) {}

  TorchObject read() {
    PickleId root = pickle_.root;
    std::vector<std::string> path, left_out;
    for (int i = 0; i < kMaxWrappings && take_model(root, path, left_out); ++i) {
    }
    if (path.empty()) collect(root);
    if (object_.tensors.empty()) {
      fail(ErrorCode::Format, "{}: no tensors in it; {}", where_,
           pickle_.globals.empty() ? "it holds plain values only" : fmt::format("loading it would have called: {}", globals()));
    }
    auto& metadata = object_.metadata;
    metadata.emplace("pytorch.globals", globals());
    metadata.emplace("pytorch.not_tensors", std::to_string(not_tensors_));
    if (non_persistent_ > 0) metadata.emplace("pytorch.non_persistent_buffers", fmt::format("{} left out", non_persistent_));
    if (!path.empty()) metadata.emplace("pytorch.path", fmt::format("{}", fmt::join(path, ".")));
    if (left_out.size() > kMaxListed) left_out.resize(kMaxListed, "...");
    if (!left_out.empty()) metadata.emplace("pytorch.left_out", fmt::format("{}", fmt::join(left_out, ", ")));
    return std::move(object_);
  }

 private:
  /// A container that is being walked through.
  struct Level {
    std::string name;
    Pairs parts;       // under keys; kNoValue where the key is the part's number
    size_t keyed = 0;  // parts that have a key; they come first
    size_t next = 0;
  };

  std::string globals() const {
    std::vector<std::string_view> names;
    for (const PickleId id : pickle_.globals) names.push_back(pickle_[id].text);
    return fmt::format("{}", fmt::join(names, ", "));
  }

  const PickleCall& call_of(const PickleValue& value) const { return pickle_.calls[static_cast<size_t>(value.integer)]; }

  /// Goes from a dict to what one of the usual keys holds, when tensors are in there. Its tensors are collected.
  bool take_model(PickleId& root, std::vector<std::string>& path, std::vector<std::string>& left_out) {
    if (is_module(root)) return false;
    const auto pairs = named_parts(root);
    for (const auto key : kModelKeys) {
      const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const auto& pair) {
        return pickle_[pair.first].kind == PickleKind::String && pickle_[pair.first].text == key;
      });
      if (found == pairs.end() || is_torch_tensor(pickle_, found->second)) continue;
      TorchObject before = std::exchange(object_, {});
      const size_t not_tensors = std::exchange(not_tensors_, 0);
      collect(found->second);
      if (object_.tensors.empty()) {
        object_ = std::move(before);
        not_tensors_ = not_tensors;
        continue;
      }
      for (const auto& [name, value] : pairs)
        if (name != found->first) left_out.push_back(key_text(name).value_or("?"));
      path.emplace_back(key);
      root = found->second;
      return true;
    }
    return false;
  }

  /// Adds the tensors of a value, in order. Names are made one at a time, and what is listed is counted, so that no sharing
  /// of parts makes memory grow far beyond the pickle's own.
  void collect(PickleId root) {
    names_.clear();
    name_bytes_ = visits_ = 0;
    std::vector<Level> levels;
    visit(root, "", levels);
    while (!levels.empty()) {
      Level& level = levels.back();
      if (level.next == level.parts.size()) {
        levels.pop_back();
        continue;
      }
      const size_t i = level.next++;
      const auto [key, part] = level.parts[i];
      const auto text = key == kNoValue ? std::to_string(i - level.keyed) : key_text(key);
      if (!text) {
        ++not_tensors_;
        continue;
      }
      std::string name = level.name.empty() ? *text : fmt::format("{}.{}", level.name, *text);
      check_name(name);
      visit(part, std::move(name), levels);
    }
  }

  /// A tensor is added, a container becomes the level to go on with.
  void visit(PickleId id, std::string name, std::vector<Level>& levels) {
    count_visits(1, name);
    if (is_torch_tensor(pickle_, id)) {
      count_visits(kVisitsPerTensor, name);  // each takes memory
      if (name.empty()) name = "tensor";
      name_bytes_ += name.size();
      if (name_bytes_ > kMaxNames)
        fail(ErrorCode::Format, "{}: the names of its tensors have more than {} bytes", where_, kMaxNames);
      if (!names_.insert(name).second) fail(ErrorCode::Format, "{}: tensor '{}' is there twice", where_, name);
      object_.tensors.push_back(read_torch_tensor(pickle_, id, name, where_));
      return;
    }
    const auto& value = pickle_[id];
    if (const PickleId state = attributes(id); state != kNoValue)
      count_visits(pickle_[state].items.size(), name);  // looked through
    const bool list = value.kind == PickleKind::List || value.kind == PickleKind::Tuple;
    const auto& elements = list || value.kind != PickleKind::Call ? value.items : call_of(value).appended;
    Level level{std::move(name), is_module(id) ? module_parts(id) : named_parts(id)};
    level.keyed = level.parts.size();
    if (list || value.kind == PickleKind::Call)
      for (const PickleId element : elements) level.parts.emplace_back(kNoValue, element);
    count_visits(level.parts.size(), level.name);
    if (level.parts.empty()) {
      not_tensors_ += value.kind == PickleKind::None ? 0 : 1;
      return;
    }
    if (levels.size() == kMaxDepth) refuse_shape(level.name);
    levels.push_back(std::move(level));
  }

  void count_visits(size_t n, std::string_view name) {
    visits_ += n;
    if (visits_ > std::min(kMaxVisits, kVisitsPerValue * (pickle_.values.size() + kVisitsPerValue))) refuse_shape(name);
  }

  [[noreturn]] void refuse_shape(std::string_view name) const {
    fail(ErrorCode::Format, "{}: '{}' is nested too deep, or shares parts too often; save a state dict", where_,
         name.substr(0, 80));
  }

  void check_name(const std::string& name) const {
    if (name.size() > kMaxName || name.find('\0') != name.npos || !simdjson::validate_utf8(name.data(), name.size()))
      fail(ErrorCode::Format, "{}: a name that is longer than {} bytes or no UTF-8 text begins: '{}'", where_, kMaxName,
           printable(name.substr(0, 40)));
  }

  static std::string printable(std::string text) {
    for (char& c : text)
      if (c < ' ' || c > '~') c = '?';
    return text;
  }

  std::optional<std::string> key_text(PickleId id) const {
    const auto& key = pickle_[id];
    if (key.kind == PickleKind::String) return std::string(key.text);
    if (key.kind == PickleKind::Int) return std::to_string(key.integer);
    return std::nullopt;
  }

  static Pairs pairs_of(const std::vector<PickleId>& items) {
    Pairs pairs;
    for (size_t i = 0; i + 1 < items.size(); i += 2) pairs.emplace_back(items[i], items[i + 1]);
    return pairs;
  }

  /// An object's attributes: its state, or the first half of (attributes, slots); kNoValue where that is no dict.
  PickleId attributes(PickleId id) const {
    if (pickle_[id].kind != PickleKind::Call) return kNoValue;
    PickleId state = call_of(pickle_[id]).state;
    if (state != kNoValue && pickle_[state].kind == PickleKind::Tuple && !pickle_[state].items.empty())
      state = pickle_[state].items.front();
    return state != kNoValue && pickle_[state].kind == PickleKind::Dict ? state : kNoValue;
  }

  /// What a dict (of any class) or an object has under names.
  Pairs named_parts(PickleId id) const {
    const auto& value = pickle_[id];
    if (value.kind == PickleKind::Dict || (value.kind == PickleKind::Call && !value.items.empty())) return pairs_of(value.items);
    if (value.kind != PickleKind::Call) return {};
    if (callee(pickle_, value) == "collections.OrderedDict") return initial_pairs(call_of(value));
    const PickleId state = attributes(id);
    return state == kNoValue ? Pairs{} : pairs_of(pickle_[state].items);
  }

  /// OrderedDict([[key, value], ...]), as Python 2 wrote it.
  Pairs initial_pairs(const PickleCall& call) const {
    Pairs pairs;
    if (call.args == kNoValue || pickle_[call.args].items.size() != 1) return pairs;
    for (const PickleId id : pickle_[pickle_[call.args].items[0]].items)
      if (const auto& pair = pickle_[id].items; pair.size() == 2) pairs.emplace_back(pair[0], pair[1]);
    return pairs;
  }

  PickleId attribute(PickleId id, std::string_view name) const {
    const PickleId state = attributes(id);
    if (state == kNoValue) return kNoValue;
    for (const auto& [key, value] : pairs_of(pickle_[state].items))
      if (pickle_[key].kind == PickleKind::String && pickle_[key].text == name) return value;
    return kNoValue;
  }

  /// An nn.Module keeps its tensors in three dicts; its other attributes may hold anything, also the module around it.
  bool is_module(PickleId id) const { return attribute(id, "_parameters") != kNoValue && attribute(id, "_modules") != kNoValue; }

  /// Names of buffers that state_dict() leaves out (register_buffer(..., persistent=False)).
  std::set<std::string_view> non_persistent(PickleId module) {
    std::set<std::string_view> names;
    const PickleId id = attribute(module, "_non_persistent_buffers_set");
    if (id == kNoValue) return names;
    // A set, or what Python 2's protocol makes of one: a call of set with a list.
    const auto& value = pickle_[id];
    std::vector<PickleId> lists;
    if (value.kind == PickleKind::Call && call_of(value).args != kNoValue) lists = pickle_[call_of(value).args].items;
    if (value.kind == PickleKind::Set) lists = {id};
    for (const PickleId list : lists) {
      count_visits(pickle_[list].items.size(), "");
      for (const PickleId element : pickle_[list].items)
        if (pickle_[element].kind == PickleKind::String) names.insert(pickle_[element].text);
    }
    return names;
  }

  /// What its state_dict() holds.
  Pairs module_parts(PickleId id) {
    Pairs pairs;
    for (const auto name : {"_parameters", "_buffers", "_modules"}) {
      const PickleId dict = attribute(id, name);
      if (dict == kNoValue) continue;
      auto parts = named_parts(dict);
      if (name == std::string_view("_buffers")) {
        const auto left_out = non_persistent(id);
        const auto is_left_out = [&](const auto& part) {
          return pickle_[part.first].kind == PickleKind::String && left_out.contains(pickle_[part.first].text);
        };
        non_persistent_ += std::erase_if(parts, is_left_out);
      }
      pairs.insert(pairs.end(), parts.begin(), parts.end());
    }
    return pairs;
  }

  const Pickle& pickle_;
  std::string_view where_;
  TorchObject object_;
  size_t not_tensors_ = 0, non_persistent_ = 0, visits_ = 0, name_bytes_ = 0;
  std::set<std::string, std::less<>> names_;
};

}  // namespace

TorchObject read_torch_object(const Pickle& pickle, std::string_view where) { return ObjectReader(pickle, where).read(); }

}  // namespace taskvec::formats
