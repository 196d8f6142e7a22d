#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// Position in Pickle::values. Values refer to each other by it: a pickle may share parts and even contain itself.
using PickleId = uint32_t;
constexpr PickleId kNoValue = ~PickleId{0};

enum class PickleKind : uint8_t {
  None,
  Bool,
  Int,
  BigInt,
  Float,
  String,
  Bytes,
  List,
  Tuple,
  Dict,
  Set,
  Global,        ///< something that Python would have imported
  Call,          ///< an object that Python would have made by calling `callable`
  PersistentId,  ///< something outside of the pickle
};

struct PickleValue {
  PickleKind kind = PickleKind::None;
  union {
    int64_t integer = 0;  ///< Bool, Int; Call: position in Pickle::calls
    double real;          ///< Float
  };
  /// String: UTF-8 (unchecked); Bytes; BigInt: little-endian two's complement; Global: "module.name"
  std::string_view text;
  /// List, Tuple, Set: elements; Dict, Call: key, value, key, value ...; PersistentId: the one value that it is
  std::vector<PickleId> items;
};

/// What Python would have done to make an object; kNoValue where there was nothing of a kind.
struct PickleCall {
  PickleId callable = kNoValue;
  PickleId args = kNoValue;    ///< a tuple, unless the pickle is odd
  PickleId kwargs = kNoValue;  ///< a dict, unless the pickle is odd
  PickleId state = kNoValue;   ///< what __setstate__ or __dict__ would have got
  std::vector<PickleId> appended;
};

/// A pickle as data. Lifetime: `text` views the bytes that it was read from and `made_text`.
struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickleCall> calls;
  std::vector<PickleId> globals;  ///< each that is named, once, in order
  PickleId root = kNoValue;
  size_t size = 0;  ///< bytes up to and with STOP
  std::deque<std::string> made_text{};

  const PickleValue& operator[](PickleId id) const { return values[id]; }
};

constexpr size_t kMaxPickleValues = size_t{1} << 23;  // each takes 100 bytes of memory, and one of the file
constexpr size_t kMaxPickleStack = size_t{1} << 24;
constexpr size_t kMaxPickleMemo = size_t{1} << 24;
constexpr size_t kMaxPickleLong = 1024;  ///< bytes of one integer

/// Whether the bytes start like a pickle of protocol 2 or later.
bool is_pickle(std::span<const std::byte> bytes);

/// Reads the pickle at the start of `bytes` into data. Nothing is imported, called or looked up, whatever the pickle says; time
/// and memory are linear in its size, and no depth of nesting needs more stack. Source: opcodes of protocols 0 to 5 as in
/// CPython's Lib/pickletools.py.
/// @param where  names the file in messages
/// @throws Error{Format} for what no pickler writes, Error{Unsupported} for extension codes and buffers out of band
Pickle read_pickle(std::span<const std::byte> bytes, std::string_view where);

}  // namespace taskvec::formats
