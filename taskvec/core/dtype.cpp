#include "taskvec/core/dtype.h"

#include <array>

namespace taskvec {
namespace {

struct Row {
  Dtype dtype;
  std::string_view name, word;  // on disk; numpy's and torch's
  int64_t itemsize;
  bool is_float;
};

constexpr std::array kRows{
    Row{Dtype::F64, "F64", "float64", 8, true},
    Row{Dtype::F32, "F32", "float32", 4, true},
    Row{Dtype::F16, "F16", "float16", 2, true},
    Row{Dtype::BF16, "BF16", "bfloat16", 2, true},
    Row{Dtype::F8_E4M3, "F8_E4M3", "float8_e4m3fn", 1, true},
    Row{Dtype::F8_E5M2, "F8_E5M2", "float8_e5m2", 1, true},
    Row{Dtype::I64, "I64", "int64", 8, false},
    Row{Dtype::I32, "I32", "int32", 4, false},
    Row{Dtype::I16, "I16", "int16", 2, false},
    Row{Dtype::I8, "I8", "int8", 1, false},
    Row{Dtype::U64, "U64", "uint64", 8, false},
    Row{Dtype::U32, "U32", "uint32", 4, false},
    Row{Dtype::U16, "U16", "uint16", 2, false},
    Row{Dtype::U8, "U8", "uint8", 1, false},
    Row{Dtype::BOOL, "BOOL", "bool", 1, false},
    Row{Dtype::C64, "C64", "complex64", 8, false},
    Row{Dtype::F8_E8M0, "F8_E8M0", "float8_e8m0fnu", 1, false},
    Row{Dtype::F8_E4M3FNUZ, "F8_E4M3FNUZ", "float8_e4m3fnuz", 1, false},
    Row{Dtype::F8_E5M2FNUZ, "F8_E5M2FNUZ", "float8_e5m2fnuz", 1, false},
};

const Row& row(Dtype dtype) { return kRows[static_cast<size_t>(dtype)]; }

}  // namespace

std::string_view name(Dtype dtype) { return row(dtype).name; }

std::optional<Dtype> parse_dtype(std::string_view text) {
  for (const Row& candidate : kRows)
    if (text == candidate.name || text == candidate.word) return candidate.dtype;
  return std::nullopt;
}

int64_t itemsize(Dtype dtype) { return row(dtype).itemsize; }

bool is_float(Dtype dtype) { return row(dtype).is_float; }

}  // namespace taskvec
