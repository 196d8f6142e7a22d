#include "taskvec/formats/torch_object.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/torch_tensor.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace taskvec::formats {
namespace {

constexpr int kMaxDepth = 64;  // of nested dicts, lists and modules
// A pickle that shares parts is a graph: a walk over it may be exponentially longer than the pickle.
constexpr size_t kMaxVisits = size_t{1} << 22, kVisitsPerValue = 64;
constexpr size_t kMaxName = 4096;
constexpr int kMaxWrappings = 8;  // {"model": {"state_dict": ...}}
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
    if (!path.empty()) metadata.emplace("pytorch.path", fmt::format("{}", fmt::join(path, ".")));
    if (left_out.size() > kMaxListed) left_out.resize(kMaxListed, "...");
    if (!left_out.empty()) metadata.emplace("pytorch.left_out", fmt::format("{}", fmt::join(left_out, ", ")));
    return std::move(object_);
  }

 private:
  struct Visit {
    PickleId id;
    std::string name;
    int depth;
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

  void collect(PickleId root) {
    std::set<std::string, std::less<>> names;
    const size_t max_visits = std::min(kMaxVisits, kVisitsPerValue * (pickle_.values.size() + kVisitsPerValue));
    visits_ = 0;
    std::vector<Visit> todo{{root, "", 0}};
    while (!todo.empty()) {
      const Visit visit = std::move(todo.back());
      todo.pop_back();
      if (++visits_ > max_visits || visit.depth > kMaxDepth) {
        fail(ErrorCode::Format, "{}: '{}' is nested too deep, or shares parts too often; save a state dict", where_,
             visit.name.substr(0, 80));
      }
      if (is_torch_tensor(pickle_, visit.id)) {
        const std::string name = visit.name.empty() ? "tensor" : visit.name;
        if (!names.insert(name).second) fail(ErrorCode::Format, "{}: tensor '{}' is there twice", where_, name);
        object_.tensors.push_back(read_torch_tensor(pickle_, visit.id, name, where_));
        continue;
      }
      const size_t before = todo.size();
      push_parts(visit, todo);
      std::reverse(todo.begin() + static_cast<ptrdiff_t>(before), todo.end());  // the first part is on top
    }
  }

  /// The parts of a container; a leaf has none.
  void push_parts(const Visit& visit, std::vector<Visit>& todo) {
    const auto push = [&](PickleId id, std::string_view key) {
      std::string name = visit.name.empty() ? std::string(key) : fmt::format("{}.{}", visit.name, key);
      check_name(name);
      todo.push_back({id, std::move(name), visit.depth + 1});
    };
    const auto& value = pickle_[visit.id];
    if (const PickleId state = attributes(visit.id); state != kNoValue) visits_ += pickle_[state].items.size();  // looked through
    const size_t before = todo.size();
    for (const auto& [key, part] : is_module(visit.id) ? module_parts(visit.id) : named_parts(visit.id)) {
      if (const auto text = key_text(key)) {
        push(part, *text);
      } else {
        ++not_tensors_;
      }
    }
    const bool list = value.kind == PickleKind::List || value.kind == PickleKind::Tuple;
    const auto& elements = list || value.kind != PickleKind::Call ? value.items : call_of(value).appended;
    if (list || value.kind == PickleKind::Call)
      for (size_t i = 0; i < elements.size(); ++i) push(elements[i], std::to_string(i));
    if (todo.size() == before && value.kind != PickleKind::None) ++not_tensors_;
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

  Pairs module_parts(PickleId id) const {
    Pairs pairs;
    for (const auto name : {"_parameters", "_buffers", "_modules"}) {
      const PickleId dict = attribute(id, name);
      if (dict == kNoValue) continue;
      const auto parts = named_parts(dict);
      pairs.insert(pairs.end(), parts.begin(), parts.end());
    }
    return pairs;
  }

  const Pickle& pickle_;
  std::string_view where_;
  TorchObject object_;
  size_t not_tensors_ = 0, visits_ = 0;
};

}  // namespace

TorchObject read_torch_object(const Pickle& pickle, std::string_view where) { return ObjectReader(pickle, where).read(); }

}  // namespace taskvec::formats
