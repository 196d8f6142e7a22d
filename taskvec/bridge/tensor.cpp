#include "taskvec/bridge/params.h"
#include "taskvec/core/error.h"

#include <c10/util/Exception.h>

#include <array>
#include <cstring>

namespace taskvec::bridge {
namespace {

constexpr std::array<std::pair<Dtype, at::ScalarType>, 19> kTypes{{
    {Dtype::F64, at::kDouble},
    {Dtype::F32, at::kFloat},
    {Dtype::F16, at::kHalf},
    {Dtype::BF16, at::kBFloat16},
    {Dtype::F8_E4M3, at::kFloat8_e4m3fn},
    {Dtype::F8_E5M2, at::kFloat8_e5m2},
    {Dtype::I64, at::kLong},
    {Dtype::I32, at::kInt},
    {Dtype::I16, at::kShort},
    {Dtype::I8, at::kChar},
    {Dtype::U64, at::kUInt64},
    {Dtype::U32, at::kUInt32},
    {Dtype::U16, at::kUInt16},
    {Dtype::U8, at::kByte},
    {Dtype::BOOL, at::kBool},
    {Dtype::C64, at::kComplexFloat},
    {Dtype::F8_E8M0, at::kFloat8_e8m0fnu},
    {Dtype::F8_E4M3FNUZ, at::kFloat8_e4m3fnuz},
    {Dtype::F8_E5M2FNUZ, at::kFloat8_e5m2fnuz},
}};

}  // namespace

at::ScalarType to_scalar_type(Dtype dtype) {
  for (const auto& [ours, theirs] : kTypes) {
    if (ours == dtype) return theirs;
  }
  fail(ErrorCode::Unsupported, "dtype {} has no libtorch type", name(dtype));
}

Dtype to_dtype(at::ScalarType type) {
  for (const auto& [ours, theirs] : kTypes) {
    if (theirs == type) return ours;
  }
  fail(ErrorCode::Unsupported, "libtorch's type {} cannot be stored in a checkpoint", c10::toString(type));
}

at::Tensor to_tensor(const formats::MappedTensor& tensor) {
  const TensorView& view = tensor.view;
  const auto options = at::TensorOptions().dtype(to_scalar_type(view.info.dtype));
  if (view.bytes.empty()) return at::empty(view.info.shape, options);

  const auto alignment = static_cast<uintptr_t>(itemsize(view.info.dtype));
  if (reinterpret_cast<uintptr_t>(view.bytes.data()) % alignment != 0) {
    at::Tensor copy = at::empty(view.info.shape, options);
    std::memcpy(copy.data_ptr(), view.bytes.data(), view.bytes.size());
    return copy;
  }
  // libtorch has no read-only tensors; the mapping itself is read-only, so that a write faults instead of changing the file.
  void* data = const_cast<std::byte*>(view.bytes.data());
  return at::from_blob(
      data, view.info.shape, [keep = tensor](void*) {}, options);
}

TensorView view(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous()) {
    fail(ErrorCode::InvalidArgument, "only contiguous CPU tensors have bytes to look at; call .cpu().contiguous() first");
  }
  TensorView result;
  result.info = {to_dtype(tensor.scalar_type()), tensor.sizes().vec()};
  result.bytes = {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
  return result;
}

}  // namespace taskvec::bridge
