#include "taskvec/bridge/precision.h"

#include "taskvec/core/dtype.h"
#include "taskvec/core/error.h"

#include <ATen/Context.h>

namespace taskvec::bridge {

std::string_view name(Precision precision) {
  switch (precision) {
    case Precision::Float32: return "float32";
    case Precision::Tf32: return "tf32";
    case Precision::Bf16: return "bf16";
  }
  return "";
}

Precision parse_precision(std::string_view text) {
  if (text == "tf32" || text == "TF32") return Precision::Tf32;
  if (text == name(Precision::Bf16)) return Precision::Bf16;
  const auto dtype = parse_dtype(text);
  if (dtype == Dtype::F32) return Precision::Float32;
  if (dtype == Dtype::BF16) return Precision::Bf16;
  fail(ErrorCode::InvalidArgument, "unknown precision '{}': expected float32, tf32 or bf16", text);
}

at::ScalarType compute_dtype(Precision precision) { return precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat; }

void use_precision(Precision precision, const at::Device& device) {
  if (precision == Precision::Tf32 && !device.is_cuda())
    fail(ErrorCode::Unsupported,
         "precision tf32 is computed by NVIDIA cards alone; on {} choose float32 or bf16, or use --device cuda", device.str());
  at::globalContext().setFloat32MatmulPrecision(precision == Precision::Tf32 ? "high" : "highest");
}

}  // namespace taskvec::bridge
