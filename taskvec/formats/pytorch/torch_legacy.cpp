#include "taskvec/core/checked.h"
#include "taskvec/formats/pytorch/torch_file.h"
#include "taskvec/formats/pytorch/torch_tensor.h"

#include <cstring>

namespace taskvec::formats {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";  // 0x1950a86a20f9469cfc6c
constexpr int64_t kProtocol = 1001;

class LegacyReader {
 public:
  explicit LegacyReader(const MappedFile& file) : path_(file.path().string()), bytes_(file.bytes()) {}

  TorchFile read() {
    if (const Pickle magic = next_pickle(); magic[magic.root].kind != PickleKind::BigInt || magic[magic.root].text != kMagic)
      fail(ErrorCode::Unsupported, "{} is a Python pickle that torch.save did not write; load it in Python and save its tensors",
           path_);
    const Pickle protocol = next_pickle();
    if (protocol[protocol.root].kind != PickleKind::Int || protocol[protocol.root].integer != kProtocol)
      fail(ErrorCode::Unsupported, "{}: not protocol {} of torch.save; load it in Python and save it again", path_, kProtocol);
    check_system(next_pickle());

    TorchFile result;
    result.format = "PyTorch legacy";
    const Pickle object = next_pickle();
    result.object = read_torch_object(object, path_);
    const auto itemsizes = storage_itemsizes(object);
    const Pickle keys = next_pickle();
    for (const PickleId id : keys[keys.root].items) {
      const auto itemsize = itemsizes.find(keys[id].text);
      if (keys[id].kind != PickleKind::String || itemsize == itemsizes.end())
        fail(ErrorCode::Format, "{}: it holds a storage that the object does not mention", path_);
      if (!result.storages.emplace(keys[id].text, next_storage(itemsize->second)).second)
        fail(ErrorCode::Format, "{}: storage '{}' is there twice", path_, keys[id].text);
    }
    return result;
  }

 private:
  Pickle next_pickle() {
    Pickle pickle = read_pickle(bytes_.subspan(at_), path_);
    at_ += pickle.size;
    return pickle;
  }

  void check_system(const Pickle& system) const {
    const auto& items = system[system.root].items;
    for (size_t i = 0; i + 1 < items.size(); i += 2)
      if (system[items[i]].text == "little_endian" && system[items[i + 1]].integer == 0)
        fail(ErrorCode::Unsupported,
             "{}: its numbers are big-endian; torch.load() and torch.save() it on a little-endian machine", path_);
  }

  /// The number of elements, then the elements.
  TorchStorage next_storage(int64_t itemsize) {
    int64_t elements = 0;
    if (bytes_.size() - at_ < sizeof elements)
      fail(ErrorCode::Format, "{}: it ends before its storages do; it is truncated", path_);
    std::memcpy(&elements, bytes_.data() + at_, sizeof elements);
    at_ += sizeof elements;
    const auto nbytes = static_cast<uint64_t>(checked_mul(elements, itemsize, path_ + ": a storage"));
    if (nbytes > bytes_.size() - at_)
      fail(ErrorCode::Format, "{}: a storage of {} bytes, but only {} are left; it is truncated", path_, nbytes,
           bytes_.size() - at_);
    const TorchStorage storage{at_, nbytes, {}};
    at_ += nbytes;
    return storage;
  }

  std::string path_;
  Bytes bytes_;
  size_t at_ = 0;
};

}  // namespace

TorchFile read_torch_legacy(const MappedFile& file) { return LegacyReader(file).read(); }

}  // namespace taskvec::formats
