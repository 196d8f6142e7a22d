#pragma once

#include "taskvec/formats/pytorch/torch_object.h"

namespace taskvec::formats {

/// Whether a value is a tensor: a call of one of PyTorch's functions that rebuild them (also those that taskvec refuses).
bool is_torch_tensor(const Pickle& pickle, PickleId id);

/// What such a call describes. @throws as read_torch_object()
TorchTensor read_torch_tensor(const Pickle& pickle, PickleId id, std::string name, std::string_view where);

/// Bytes per element of every storage that the pickle mentions, by key.
std::map<std::string, int64_t, std::less<>> storage_itemsizes(const Pickle& pickle);

/// The name of the global that a call would have called, "" when it is none.
std::string_view callee(const Pickle& pickle, const PickleValue& value);

}  // namespace taskvec::formats
