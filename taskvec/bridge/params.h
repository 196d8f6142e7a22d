#pragma once

#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/writer.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace taskvec::bridge {

/// A point in weight space: an ordered map from parameter names to tensors. Copying copies references, not weights.
class Params {
 public:
  using Entry = std::pair<std::string, at::Tensor>;

  /// @throws Error{InvalidArgument} when the name is there already.
  void add(std::string name, at::Tensor tensor);
  /// Replaces or adds.
  void set(std::string_view name, at::Tensor tensor);
  /// @throws Error{NotFound} with the nearest name.
  const at::Tensor& at(std::string_view name) const;
  const at::Tensor* find(std::string_view name) const;  ///< nullptr when absent
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  size_t size() const { return entries_.size(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

  /// The same names with f(name, tensor) as values.
  Params map(const std::function<at::Tensor(const std::string&, const at::Tensor&)>& f) const;
  /// The entries whose names satisfy the predicate, in order.
  Params filter(const std::function<bool(const std::string&)>& keep) const;

 private:
  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// A tensor over the checkpoint's own bytes, without a copy; the mapping lives as long as the tensor. Read-only by contract:
/// writing to it faults. Misaligned bytes and dtypes that libtorch lacks are copied.
at::Tensor to_tensor(const formats::MappedTensor& tensor);

at::ScalarType to_scalar_type(Dtype dtype);
Dtype to_dtype(at::ScalarType type);  ///< @throws Error{Unsupported} naming the type

/// The bytes of a contiguous CPU tensor. Lifetime: as long as `tensor`'s storage.
TensorView view(const at::Tensor& tensor);

/// All tensors of a checkpoint, zero-copy.
Params load(const formats::Checkpoint& checkpoint);

/// Writes params as safetensors (a lone file or a folder) through CheckpointWriter; `like`, when given, orders the tensors, gives
/// the sidecars and the tensors that `params` lacks.
void save(const Params& params, const std::filesystem::path& path, std::map<std::string, std::string> metadata,
          const formats::Checkpoint* like = nullptr);

}  // namespace taskvec::bridge
