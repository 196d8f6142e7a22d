#pragma once

#include "taskvec/core/tensor_view.h"
#include "taskvec/formats/pytorch/pickle.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// A strided view of a storage, as torch.save describes it. Checked: name, dtype, as many strides as dimensions, nothing
/// negative, no element beyond the storage's declared size.
struct TorchTensor {
  std::string name;
  TensorInfo info;
  std::vector<int64_t> strides;  ///< in elements
  int64_t offset = 0;            ///< in elements
  std::string storage;           ///< its key
  int64_t storage_bytes = 0;     ///< declared size

  bool contiguous() const;
};

/// The model that a pickled object holds.
struct TorchObject {
  std::vector<TorchTensor> tensors;  ///< in the order of the object, names unique
  /// pytorch.globals      what Python would have imported, comma-separated
  /// pytorch.path         where in the object the model was, e.g. "state_dict"; absent when it was the object itself
  /// pytorch.left_out     what was beside it
  /// pytorch.not_tensors  how many values of the model are no tensors
  std::map<std::string, std::string> metadata;
};

/// Finds a model's tensors: a state dict, one under a usual key (state_dict, model_state_dict, model, module), a pickled
/// nn.Module or a TorchScript module; other dicts and lists are flattened. Nested names are joined with '.'. Buffers that a
/// module would not save are kept. Source: torch/_utils.py and torch/serialization.py of PyTorch 2.13,
/// torch/csrc/jit/serialization/pickler.cpp
/// @param where  names the file in messages
/// @throws Error{Unsupported} for sparse, quantised, nested, conjugated and meta tensors and dtypes that taskvec lacks;
/// Error{Format} when tensors depend on code, for broken descriptions, and where there are no tensors at all
TorchObject read_torch_object(const Pickle& pickle, std::string_view where);

}  // namespace taskvec::formats
