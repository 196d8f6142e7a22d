#include "taskvec/formats/pytorch/pickle.h"

#include "taskvec/core/error.h"
#include "taskvec/formats/pytorch/pickle_text.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

namespace taskvec::formats {
namespace {

constexpr uint8_t kMaxProtocol = 5;
constexpr size_t kMaxGlobalName = 1024;

// clang-format off
/// The names of pickletools.
enum class Op : uint8_t {
  MARK = '(', STOP = '.', POP = '0', POP_MARK = '1', DUP = '2', FLOAT = 'F', INT = 'I', BININT = 'J', BININT1 = 'K', LONG = 'L',
  BININT2 = 'M', NONE = 'N', PERSID = 'P', BINPERSID = 'Q', REDUCE = 'R', STRING = 'S', BINSTRING = 'T', SHORT_BINSTRING = 'U',
  UNICODE = 'V', BINUNICODE = 'X', APPEND = 'a', BUILD = 'b', GLOBAL = 'c', DICT = 'd', EMPTY_DICT = '}', APPENDS = 'e', GET = 'g',
  BINGET = 'h', INST = 'i', LONG_BINGET = 'j', LIST = 'l', EMPTY_LIST = ']', OBJ = 'o', PUT = 'p', BINPUT = 'q',
  LONG_BINPUT = 'r', SETITEM = 's', TUPLE = 't', EMPTY_TUPLE = ')', SETITEMS = 'u', BINFLOAT = 'G', BINBYTES = 'B',
  SHORT_BINBYTES = 'C', PROTO = 0x80, NEWOBJ, EXT1, EXT2, EXT4, TUPLE1, TUPLE2, TUPLE3, NEWTRUE, NEWFALSE, LONG1, LONG4,
  SHORT_BINUNICODE, BINUNICODE8, BINBYTES8, EMPTY_SET, ADDITEMS, FROZENSET, NEWOBJ_EX, STACK_GLOBAL, MEMOIZE, FRAME, BYTEARRAY8,
  NEXT_BUFFER, READONLY_BUFFER
};
// clang-format on

using Ids = std::vector<PickleId>;

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  Pickle run() {
    for (Op op = next_op(); op != Op::STOP; op = next_op()) step(op);
    out_.root = pop();
    out_.size = at_;
    return std::move(out_);
  }

 private:
  Op next_op() {
    op_at_ = at_;
    return static_cast<Op>(take<uint8_t>());
  }

  void step(Op op) {
    switch (op) {
      case Op::PROTO: return check_protocol(take<uint8_t>());
      case Op::FRAME: return check_frame(take<uint64_t>());
      case Op::MARK: return push_mark();
      case Op::POP: return drop();
      case Op::POP_MARK: return void(pop_to_mark());
      case Op::DUP: return push_id(top());

      case Op::NONE: return push_shared(none_, {PickleKind::None, {}, {}, {}});
      case Op::NEWTRUE: return push_shared(true_, {PickleKind::Bool, {1}, {}, {}});
      case Op::NEWFALSE: return push_shared(false_, {PickleKind::Bool, {0}, {}, {}});
      case Op::INT: return push_int_line(line());
      case Op::LONG: return push_long_line(line());
      case Op::BININT: return push_int(take<int32_t>());
      case Op::BININT1: return push_int(take<uint8_t>());
      case Op::BININT2: return push_int(take<uint16_t>());
      case Op::LONG1: return push_long(take<uint8_t>());
      case Op::LONG4: return push_long(take<uint32_t>());
      case Op::FLOAT: return push_float_line(line());
      case Op::BINFLOAT: return push_float(std::bit_cast<double>(__builtin_bswap64(take<uint64_t>())));

      case Op::STRING: return push_made(unquote_pickle_string(line()));
      case Op::UNICODE: return push_made(decode_raw_unicode_escape(line()));
      case Op::SHORT_BINSTRING:
      case Op::SHORT_BINUNICODE: return push_text(PickleKind::String, take<uint8_t>());
      case Op::BINSTRING:
      case Op::BINUNICODE: return push_text(PickleKind::String, take<uint32_t>());
      case Op::BINUNICODE8: return push_text(PickleKind::String, take<uint64_t>());
      case Op::SHORT_BINBYTES: return push_text(PickleKind::Bytes, take<uint8_t>());
      case Op::BINBYTES: return push_text(PickleKind::Bytes, take<uint32_t>());
      case Op::BINBYTES8:
      case Op::BYTEARRAY8: return push_text(PickleKind::Bytes, take<uint64_t>());

      case Op::EMPTY_LIST: return push_items(PickleKind::List, {});
      case Op::EMPTY_DICT: return push_items(PickleKind::Dict, {});
      case Op::EMPTY_SET: return push_items(PickleKind::Set, {});
      case Op::EMPTY_TUPLE: return push_shared(empty_tuple_, {PickleKind::Tuple, {}, {}, {}});
      case Op::LIST: return push_items(PickleKind::List, pop_to_mark());
      case Op::DICT: return push_items(PickleKind::Dict, pop_pairs());
      case Op::FROZENSET: return push_items(PickleKind::Set, pop_to_mark());
      case Op::TUPLE: return push_items(PickleKind::Tuple, pop_to_mark());
      case Op::TUPLE1: return push_items(PickleKind::Tuple, pop(1));
      case Op::TUPLE2: return push_items(PickleKind::Tuple, pop(2));
      case Op::TUPLE3: return push_items(PickleKind::Tuple, pop(3));

      case Op::APPEND: return append(pop(1));
      case Op::APPENDS:
      case Op::ADDITEMS: return append(pop_to_mark());
      case Op::SETITEM: return set_items(pop(2));
      case Op::SETITEMS: return set_items(pop_pairs());

      case Op::GET: return get(memo_index(line()));
      case Op::BINGET: return get(take<uint8_t>());
      case Op::LONG_BINGET: return get(take<uint32_t>());
      case Op::PUT: return put(memo_index(line()));
      case Op::BINPUT: return put(take<uint8_t>());
      case Op::LONG_BINPUT: return put(take<uint32_t>());
      case Op::MEMOIZE: return put(memoized_);

      case Op::GLOBAL: return push_global_lines();
      case Op::STACK_GLOBAL: return push_stack_global();
      case Op::REDUCE:
      case Op::NEWOBJ: return push_reduce();
      case Op::NEWOBJ_EX: return push_newobj_ex();
      case Op::INST: return push_inst();
      case Op::OBJ: return push_obj();
      case Op::BUILD: return build();
      case Op::PERSID: return push_persistent_line(line());
      case Op::BINPERSID: return push_items(PickleKind::PersistentId, pop(1));

      case Op::EXT1:
      case Op::EXT2:
      case Op::EXT4:
        refuse(ErrorCode::Unsupported,
               "EXT{} names code by a number that only its writer's copyreg registry knows; save the weights as a state dict",
               1 << (static_cast<int>(op) - static_cast<int>(Op::EXT1)));
      case Op::NEXT_BUFFER:
      case Op::READONLY_BUFFER:
        refuse(ErrorCode::Unsupported,
               "{} takes bytes that were kept outside of the pickle (protocol 5, out of band); save the weights with torch.save",
               op == Op::NEXT_BUFFER ? "NEXT_BUFFER" : "READONLY_BUFFER");
      case Op::STOP: break;
    }
    refuse(ErrorCode::Format, "no pickle opcode is 0x{:02x}; this is no pickle, or it is damaged", static_cast<int>(op));
  }

  template <typename... Args>
  [[noreturn]] void refuse(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) const {
    fail(code, "{}: at byte {} of the pickle: {}", where_, op_at_, fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- bytes

  std::string_view take_bytes(uint64_t size) {
    if (size > bytes_.size() - at_)
      refuse(ErrorCode::Format, "{} bytes should follow, but only {} are left; it may be truncated", size, bytes_.size() - at_);
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take_bytes(sizeof value).data(), sizeof value);
    return value;
  }

  std::string_view line() {
    const void* const newline = at_ < bytes_.size() ? std::memchr(bytes_.data() + at_, '\n', bytes_.size() - at_) : nullptr;
    if (newline == nullptr) refuse(ErrorCode::Format, "a line without an end; it may be truncated");
    const auto size = static_cast<size_t>(static_cast<const std::byte*>(newline) - (bytes_.data() + at_));
    const auto text = take_bytes(size + 1);
    return text.substr(0, size);
  }

  void check_protocol(uint8_t protocol) const {
    if (protocol > kMaxProtocol)
      refuse(ErrorCode::Unsupported, "pickle protocol {}; taskvec reads 0 to {}", protocol, kMaxProtocol);
  }

  void check_frame(uint64_t size) const {
    if (size > bytes_.size() - at_)
      refuse(ErrorCode::Format, "a frame of {} bytes, but only {} are left; it may be truncated", size, bytes_.size() - at_);
  }

  // ---- the stack; what lies below the last mark is out of reach

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleId top() const {
    if (stack_.size() <= floor()) refuse(ErrorCode::Format, "it takes a value from an empty stack");
    return stack_.back();
  }

  PickleId pop() {
    const PickleId id = top();
    stack_.pop_back();
    return id;
  }

  Ids pop(size_t count) {
    if (stack_.size() - floor() < count) refuse(ErrorCode::Format, "it takes {} values from a smaller stack", count);
    Ids ids(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return ids;
  }

  Ids pop_to_mark() {
    if (marks_.empty()) refuse(ErrorCode::Format, "it ends a list that was never begun");
    Ids ids = pop(stack_.size() - floor());
    marks_.pop_back();
    return ids;
  }

  Ids pop_pairs() {
    Ids ids = pop_to_mark();
    if (ids.size() % 2 != 0) refuse(ErrorCode::Format, "a key without a value");
    return ids;
  }

  void drop() {
    if (stack_.size() > floor() || marks_.empty()) {
      pop();
    } else {
      marks_.pop_back();
    }
  }

  PickleId add(PickleValue value) {
    if (out_.values.size() == kMaxPickleValues)
      refuse(ErrorCode::Format, "more than {} values; this is no sensible checkpoint", kMaxPickleValues);
    out_.values.push_back(std::move(value));
    return static_cast<PickleId>(out_.values.size() - 1);
  }

  void check_height(size_t height) const {
    if (height == kMaxPickleStack)
      refuse(ErrorCode::Format, "more than {} values on the stack; this is no sensible checkpoint", kMaxPickleStack);
  }

  void push_id(PickleId id) {
    check_height(stack_.size());
    stack_.push_back(id);
  }

  void push_mark() {
    check_height(marks_.size());
    marks_.push_back(static_cast<uint32_t>(stack_.size()));
  }

  void push(PickleValue value) { push_id(add(std::move(value))); }

  /// Values that are the same wherever they stand: checkpoints of many tensors repeat them millions of times.
  void push_shared(std::optional<PickleId>& shared, PickleValue value) {
    if (!shared) shared = add(std::move(value));
    push_id(*shared);
  }

  // ---- plain data

  void push_int(int64_t value) { push({PickleKind::Int, {value}, {}, {}}); }

  void push_int_line(std::string_view text) {
    if (text == "01" || text == "00") return push({PickleKind::Bool, {text == "01"}, {}, {}});
    push_long_line(text);
  }

  void push_long_line(std::string_view text) {
    if (text.ends_with('L')) text.remove_suffix(1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      refuse(ErrorCode::Format, "'{}' is no integer of 64 bits", printable(text));
    push_int(value);
  }

  void push_long(uint32_t size) {
    if (size > kMaxPickleLong) refuse(ErrorCode::Format, "an integer of {} bytes; at most {} are allowed", size, kMaxPickleLong);
    const auto text = take_bytes(size);
    if (size > sizeof(int64_t)) return push({PickleKind::BigInt, {}, text, {}});
    int64_t value = size > 0 && text.back() < 0 ? -1 : 0;
    std::memcpy(&value, text.data(), size);
    push_int(value);
  }

  void push_float(double value) {
    PickleValue real;
    real.kind = PickleKind::Float;
    real.real = value;
    push(std::move(real));
  }

  void push_float_line(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::invalid_argument || end != text.data() + text.size())
      refuse(ErrorCode::Format, "'{}' is no number", printable(text));
    push_float(value);
  }

  void push_text(PickleKind kind, uint64_t size) { push({kind, {}, take_bytes(size), {}}); }

  void push_made(std::optional<std::string> text) {
    if (!text) refuse(ErrorCode::Format, "a string with wrong quotes or escapes");
    push({PickleKind::String, {}, out_.made_text.emplace_back(std::move(*text)), {}});
  }

  void push_items(PickleKind kind, Ids ids) { push({kind, {}, {}, std::move(ids)}); }

  void append(const Ids& ids) {
    auto& target = out_.values[top()];
    const bool call = target.kind == PickleKind::Call;
    if (!call && target.kind != PickleKind::List && target.kind != PickleKind::Set)
      refuse(ErrorCode::Format, "it appends to what is neither list nor object");
    auto& to = call ? call_of(target).appended : target.items;
    to.insert(to.end(), ids.begin(), ids.end());
  }

  void set_items(const Ids& ids) {
    auto& target = out_.values[top()];
    if (target.kind != PickleKind::Dict && target.kind != PickleKind::Call)
      refuse(ErrorCode::Format, "it sets items of what is neither dict nor object");
    target.items.insert(target.items.end(), ids.begin(), ids.end());
  }

  // ---- the memo

  uint64_t memo_index(std::string_view text) const {
    uint64_t index = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc{} || end != text.data() + text.size())
      refuse(ErrorCode::Format, "'{}' is no place in the memo", printable(text));
    return index;
  }

  void put(uint64_t index) {
    if (index >= kMaxPickleMemo) refuse(ErrorCode::Format, "place {} in the memo; at most {} are allowed", index, kMaxPickleMemo);
    const PickleId value = top();
    if (index >= memo_.size()) memo_.resize(index + 1, kNoValue);
    if (memo_[index] == kNoValue) ++memoized_;
    memo_[index] = value;
  }

  void get(uint64_t index) {
    if (index >= memo_.size() || memo_[index] == kNoValue)
      refuse(ErrorCode::Format, "it takes what was never put at {} in the memo", index);
    push_id(memo_[index]);
  }

  // ---- what Python would have imported and called

  static std::string printable(std::string_view text) {
    std::string out(text.substr(0, 80));
    for (char& c : out)
      if (c < ' ' || c > '~') c = '?';
    return out;
  }

  PickleId global(std::string_view module, std::string_view name) {
    const std::string full = fmt::format("{}.{}", module, name);
    const bool control =
        std::any_of(full.begin(), full.end(), [](char c) { return (c >= 0 && c <= ' ') || c == 0x7F || c == ','; });
    if (module.empty() || name.empty() || full.size() > kMaxGlobalName || control ||
        !simdjson::validate_utf8(full.data(), full.size()))
      refuse(ErrorCode::Format, "'{}' is no name that Python could import", printable(full));
    const auto known = globals_.find(full);
    if (known != globals_.end()) return known->second;
    const PickleId id = add({PickleKind::Global, {}, out_.made_text.emplace_back(full), {}});
    globals_.emplace(full, id);
    out_.globals.push_back(id);
    return id;
  }

  void push_global_lines() {
    const auto module = line(), name = line();
    push_id(global(module, name));
  }

  void push_stack_global() {
    const Ids ids = pop(2);
    const auto& module = out_.values[ids[0]];
    const auto& name = out_.values[ids[1]];
    if (module.kind != PickleKind::String || name.kind != PickleKind::String)
      refuse(ErrorCode::Format, "a global whose module and name are no strings");
    push_id(global(module.text, name.text));
  }

  PickleCall& call_of(const PickleValue& value) { return out_.calls[static_cast<size_t>(value.integer)]; }

  void push_call(PickleCall call) {
    out_.calls.push_back(std::move(call));
    push({PickleKind::Call, {static_cast<int64_t>(out_.calls.size() - 1)}, {}, {}});
  }

  void push_reduce() {
    const Ids ids = pop(2);
    push_call({ids[0], ids[1], kNoValue, kNoValue, {}});
  }

  void push_newobj_ex() {
    const Ids ids = pop(3);
    push_call({ids[0], ids[1], ids[2], kNoValue, {}});
  }

  void push_inst() {
    const auto module = line(), name = line();
    const PickleId args = add({PickleKind::Tuple, {}, {}, pop_to_mark()});
    push_call({global(module, name), args, kNoValue, kNoValue, {}});
  }

  void push_obj() {
    Ids ids = pop_to_mark();
    if (ids.empty()) refuse(ErrorCode::Format, "an object without a class");
    const PickleId callable = ids.front();
    ids.erase(ids.begin());
    const PickleId args = add({PickleKind::Tuple, {}, {}, std::move(ids)});
    push_call({callable, args, kNoValue, kNoValue, {}});
  }

  void build() {
    const PickleId state = pop();
    const auto& target = out_.values[top()];
    if (target.kind != PickleKind::Call || call_of(target).state != kNoValue)
      refuse(ErrorCode::Format, "it gives a state to what is no new object");
    call_of(target).state = state;
  }

  void push_persistent_line(std::string_view text) {
    push_items(PickleKind::PersistentId, {add({PickleKind::String, {}, text, {}})});
  }

  std::span<const std::byte> bytes_;
  std::string_view where_;
  size_t at_ = 0, op_at_ = 0;
  Ids stack_, memo_;
  std::vector<uint32_t> marks_;  // heights of the stack
  size_t memoized_ = 0;          // distinct places in the memo: where MEMOIZE puts the next
  std::map<std::string, PickleId> globals_;
  std::optional<PickleId> none_, true_, false_, empty_tuple_;
  Pickle out_;
};

}  // namespace

bool is_pickle(std::span<const std::byte> bytes) {
  return bytes.size() > 2 && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{2} && bytes[1] <= std::byte{kMaxProtocol};
}

Pickle read_pickle(std::span<const std::byte> bytes, std::string_view where) { return Unpickler(bytes, where).run(); }

}  // namespace taskvec::formats
