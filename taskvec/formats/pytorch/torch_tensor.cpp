#include "taskvec/formats/pytorch/torch_tensor.h"

#include "taskvec/core/checked.h"

#include <algorithm>
#include <array>
#include <optional>

namespace taskvec::formats {
namespace {

constexpr size_t kMaxDimensions = 64;
constexpr int64_t kMaxExpandedBytes = int64_t{1} << 30;
constexpr int kMaxWrappers = 16;

/// How a function that rebuilds a tensor takes its arguments.
enum class Form { Storage, Wrapper, FunctionAndArgs, Refused };

struct Rebuilder {
  std::string_view name;
  Form form;
  std::string_view kind{}, fix{};  ///< of what is refused
};

constexpr std::array kRebuilders{
    Rebuilder{"torch._utils._rebuild_tensor", Form::Storage},
    Rebuilder{"torch._utils._rebuild_tensor_v2", Form::Storage},
    Rebuilder{"torch._utils._rebuild_tensor_v3", Form::Storage},
    Rebuilder{"torch._utils._rebuild_parameter", Form::Wrapper},
    Rebuilder{"torch._utils._rebuild_parameter_with_state", Form::Wrapper},
    Rebuilder{"torch._tensor._rebuild_from_type", Form::FunctionAndArgs},
    Rebuilder{"torch._tensor._rebuild_from_type_v2", Form::FunctionAndArgs},
    Rebuilder{"torch._utils._rebuild_sparse_tensor", Form::Refused, "sparse", "save tensor.to_dense()"},
    Rebuilder{"torch._utils._rebuild_sparse_csr_tensor", Form::Refused, "sparse", "save tensor.to_dense()"},
    Rebuilder{"torch._utils._rebuild_qtensor", Form::Refused, "quantised", "save tensor.dequantize()"},
    Rebuilder{"torch._utils._rebuild_nested_tensor", Form::Refused, "nested", "save tensor.unbind() or a padded tensor"},
    Rebuilder{"torch._utils._rebuild_meta_tensor_no_storage", Form::Refused, "without data (device meta)",
              "load its weights, then save it"},
    Rebuilder{"torch._utils._rebuild_wrapper_subclass", Form::Refused, "of a subclass that wraps others", "save plain tensors"},
    Rebuilder{"torch._utils._rebuild_device_tensor_from_numpy", Form::Refused, "of another device, kept as a numpy array",
              "save tensor.cpu()"},
    Rebuilder{"torch._utils._rebuild_device_tensor_from_cpu_tensor", Form::Refused, "of another device", "save tensor.cpu()"},
    Rebuilder{"torch._utils._rebuild_xla_tensor", Form::Refused, "of another device", "save tensor.cpu()"},
};

/// torch's storages, e.g. "torch.FloatStorage", with the word for their elements.
struct StorageType {
  std::string_view name, dtype;
  int64_t itemsize;
};

constexpr std::array kStorages{
    StorageType{"Double", "float64", 8},
    StorageType{"Float", "float32", 4},
    StorageType{"Half", "float16", 2},
    StorageType{"BFloat16", "bfloat16", 2},
    StorageType{"Long", "int64", 8},
    StorageType{"Int", "int32", 4},
    StorageType{"Short", "int16", 2},
    StorageType{"Char", "int8", 1},
    StorageType{"Byte", "uint8", 1},
    StorageType{"Bool", "bool", 1},
    StorageType{"Untyped", "uint8", 1},
    StorageType{"ComplexFloat", "complex64", 8},
    StorageType{"ComplexDouble", "complex128", 16},
    StorageType{"QInt8", "qint8", 1},
    StorageType{"QUInt8", "quint8", 1},
    StorageType{"QInt32", "qint32", 4},
    StorageType{"QUInt4x2", "quint4x2", 1},
    StorageType{"QUInt2x4", "quint2x4", 1},
};

/// By e.g. "torch.FloatStorage", "torch.cuda.FloatStorage" or "torch.storage.UntypedStorage"; null when PyTorch has no such type.
const StorageType* storage_type(std::string_view global) {
  constexpr std::string_view kSuffix = "Storage";
  if (!global.starts_with("torch.") || !global.ends_with(kSuffix)) return nullptr;
  global.remove_suffix(kSuffix.size());
  global.remove_prefix(global.rfind('.') + 1);
  const auto found = std::find_if(kStorages.begin(), kStorages.end(), [&](const auto& row) { return row.name == global; });
  return found == kStorages.end() ? nullptr : &*found;
}

const Rebuilder* rebuilder(std::string_view name) {
  const auto found = std::find_if(kRebuilders.begin(), kRebuilders.end(), [&](const auto& row) { return row.name == name; });
  return found == kRebuilders.end() ? nullptr : &*found;
}

std::string_view global_name(const Pickle& pickle, PickleId id) {
  return id != kNoValue && pickle[id].kind == PickleKind::Global ? pickle[id].text : std::string_view{};
}

/// One tensor's description, with its name for messages.
class TensorReader {
 public:
  TensorReader(const Pickle& pickle, std::string name, std::string_view where) : pickle_(pickle), where_(where) {
    tensor_.name = std::move(name);
  }

  TorchTensor read(PickleId id) {
    const auto& call = pickle_.calls[static_cast<size_t>(pickle_[id].integer)];
    read_call(global_name(pickle_, call.callable), call.args);
    return std::move(tensor_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) const {
    fail(code, "{}: tensor '{}' {}", where_, tensor_.name, fmt::format(format, std::forward<Args>(args)...));
  }

  /// Follows the wrappers (nn.Parameter, subclasses) to the call that names a storage.
  void read_call(std::string_view function, PickleId args_id) {
    for (int wrappers = 0; wrappers < kMaxWrappers; ++wrappers) {
      const Rebuilder* const row = rebuilder(function);
      if (row == nullptr)
        refuse(ErrorCode::Format, "would be made by '{}', which is not run; save the weights as a state dict", function);
      const auto& args = arguments(args_id, row->form == Form::Storage ? 4 : row->form == Form::FunctionAndArgs ? 3 : 1);
      switch (row->form) {
        case Form::Refused: refuse(ErrorCode::Unsupported, "is {}; {}", row->kind, row->fix);
        case Form::Storage: return read_view(function, args);
        case Form::Wrapper: {
          const auto& inner = pickle_[args[0]];
          if (inner.kind != PickleKind::Call) refuse(ErrorCode::Format, "wraps what is no tensor");
          const auto& call = pickle_.calls[static_cast<size_t>(inner.integer)];
          function = global_name(pickle_, call.callable);
          args_id = call.args;
          break;
        }
        case Form::FunctionAndArgs:  // (function, type, args, state)
          function = global_name(pickle_, args[0]);
          args_id = args[2];
          break;
      }
    }
    refuse(ErrorCode::Format, "is wrapped {} times; no writer does that", kMaxWrappers);
  }

  const std::vector<PickleId>& arguments(PickleId id, size_t least) const {
    if (id == kNoValue || pickle_[id].kind != PickleKind::Tuple || pickle_[id].items.size() < least)
      refuse(ErrorCode::Format, "is not described as torch.save does it: {} arguments expected", least);
    return pickle_[id].items;
  }

  /// (storage, offset, size, strides, requires_grad, hooks[, dtype in v3][, metadata])
  void read_view(std::string_view function, const std::vector<PickleId>& args) {
    const bool v3 = function.ends_with("_v3");
    const StorageType& storage = read_storage(args[0]);
    tensor_.info.dtype = v3 && args.size() > 6 ? named_dtype(args[6]) : dtype_of(storage.dtype);
    if (const size_t at = v3 ? 7 : 6; args.size() > at) check_metadata(args[at]);
    tensor_.offset += whole(args[1], "offset");
    tensor_.info.shape = wholes(args[2], "size");
    tensor_.strides = wholes(args[3], "strides");
    if (tensor_.strides.size() != tensor_.info.shape.size())
      refuse(ErrorCode::Format, "has {} dimensions, but {} strides", tensor_.info.shape.size(), tensor_.strides.size());
    check_bounds(storage.itemsize);
  }

  /// ("storage", type, key, device, elements[, view]). @return its type
  const StorageType& read_storage(PickleId id) {
    const auto& outside = pickle_[id];
    if (outside.kind != PickleKind::PersistentId) {
      const auto what = callee(pickle_, outside);
      refuse(ErrorCode::Format, "gets its storage from {}, which is not run; save the weights as a state dict",
             what.empty() ? "no storage of the file" : fmt::format("'{}'", what));
    }
    const auto& parts = arguments(outside.items[0], 5);
    const auto& key = pickle_[parts[2]];
    const StorageType* const type = storage_type(global_name(pickle_, parts[1]));
    if (pickle_[parts[0]].text != "storage" || type == nullptr || key.kind != PickleKind::String)
      refuse(ErrorCode::Format, "has a storage that torch.save would not describe so (type '{}')",
             global_name(pickle_, parts[1]));
    if (pickle_[parts[3]].text == "meta")
      refuse(ErrorCode::Unsupported, "has no data (device meta); load its weights, then save it");
    tensor_.storage = key.text;
    storage_elements_ = whole(parts[4], "storage");
    if (parts.size() > 5 && pickle_[parts[5]].kind == PickleKind::Tuple)  // a part of a storage, as torch 0.3 saved it
      tensor_.offset = whole(arguments(parts[5], 3)[1], "offset of its storage");
    return *type;
  }

  Dtype dtype_of(std::string_view word) const {
    if (word.starts_with("q")) refuse(ErrorCode::Unsupported, "is quantised ({}); save tensor.dequantize()", word);
    const auto dtype = parse_dtype(word);
    if (!dtype)
      refuse(ErrorCode::Unsupported,
             "has dtype '{}', which taskvec does not know; save it in another, e.g. tensor.to(torch.float32)", word);
    return *dtype;
  }

  /// A dtype by its global, e.g. "torch.float8_e4m3fn".
  Dtype named_dtype(PickleId id) const {
    std::string_view word = global_name(pickle_, id);
    if (!word.starts_with("torch.")) refuse(ErrorCode::Format, "has '{}' in the place of its dtype", word);
    return dtype_of(word.substr(6));
  }

  void check_metadata(PickleId id) const {
    const auto& items = pickle_[id].items;
    if (pickle_[id].kind != PickleKind::Dict) return;
    for (size_t i = 0; i + 1 < items.size(); i += 2)
      if (const auto& key = pickle_[items[i]]; (key.text == "conj" || key.text == "neg") && pickle_[items[i + 1]].integer != 0)
        refuse(ErrorCode::Unsupported, "is a {} view whose bytes are not its values; save tensor.resolve_{}()",
               key.text == "conj" ? "conjugated" : "negated", key.text);
  }

  int64_t whole(PickleId id, std::string_view what) const {
    const auto& value = pickle_[id];
    if (value.kind != PickleKind::Int || value.integer < 0)
      refuse(ErrorCode::Format, "has a wrong {}: it must be a whole number from 0 to 2^63 - 1", what);
    return value.integer;
  }

  std::vector<int64_t> wholes(PickleId id, std::string_view what) const {
    const auto& ids = arguments(id, 0);
    if (ids.size() > kMaxDimensions) refuse(ErrorCode::Format, "has {} dimensions; at most {}", ids.size(), kMaxDimensions);
    std::vector<int64_t> numbers;
    for (const PickleId item : ids) numbers.push_back(whole(item, what));
    return numbers;
  }

  /// No stride may lead out of the storage, and no stride of 0 may blow a small file up.
  void check_bounds(int64_t storage_itemsize) try {
    const int64_t itemsize = taskvec::itemsize(tensor_.info.dtype), nbytes = tensor_.info.nbytes();
    tensor_.storage_bytes = checked_mul(storage_elements_, storage_itemsize, "storage");
    if (nbytes == 0) {
      tensor_.offset = 0;
      return;
    }
    int64_t last = tensor_.offset;
    for (size_t i = 0; i < tensor_.strides.size(); ++i)
      last = checked_add(last, checked_mul(tensor_.info.shape[i] - 1, tensor_.strides[i], "stride"), "stride");
    const int64_t end = checked_mul(checked_add(last, 1, "stride"), itemsize, "stride");
    if (end > tensor_.storage_bytes)
      refuse(ErrorCode::Format, "({} with offset {}) reaches to byte {} of a storage of {} bytes", to_string(tensor_.info.shape),
             tensor_.offset, end, tensor_.storage_bytes);
    if (nbytes > tensor_.storage_bytes && nbytes > kMaxExpandedBytes)
      refuse(ErrorCode::Unsupported, "repeats a storage of {} bytes until it has {}; save tensor.clone() of a part",
             tensor_.storage_bytes, nbytes);
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(where_)) throw;
    refuse(ErrorCode::Format, "with shape {}: {}", to_string(tensor_.info.shape), error.what());
  }

  const Pickle& pickle_;
  std::string_view where_;
  TorchTensor tensor_;
  int64_t storage_elements_ = 0;
};

}  // namespace

bool TorchTensor::contiguous() const {
  if (info.numel() == 0) return true;
  int64_t expected = 1;
  for (size_t i = strides.size(); i-- > 0;) {
    if (info.shape[i] != 1 && strides[i] != expected) return false;
    expected *= info.shape[i];
  }
  return true;
}

std::string_view callee(const Pickle& pickle, const PickleValue& value) {
  if (value.kind != PickleKind::Call) return {};
  return global_name(pickle, pickle.calls[static_cast<size_t>(value.integer)].callable);
}

bool is_torch_tensor(const Pickle& pickle, PickleId id) {
  const auto name = callee(pickle, pickle[id]);
  return !name.empty() && rebuilder(name) != nullptr;
}

std::map<std::string, int64_t, std::less<>> storage_itemsizes(const Pickle& pickle) {
  std::map<std::string, int64_t, std::less<>> sizes;
  for (const auto& value : pickle.values) {
    if (value.kind != PickleKind::PersistentId) continue;
    const auto& parts = pickle[value.items[0]].items;
    if (parts.size() < 5 || pickle[parts[0]].text != "storage" || pickle[parts[2]].kind != PickleKind::String) continue;
    if (const auto* type = storage_type(global_name(pickle, parts[1]))) sizes.emplace(pickle[parts[2]].text, type->itemsize);
  }
  return sizes;
}

TorchTensor read_torch_tensor(const Pickle& pickle, PickleId id, std::string name, std::string_view where) {
  return TensorReader(pickle, std::move(name), where).read(id);
}

}  // namespace taskvec::formats
