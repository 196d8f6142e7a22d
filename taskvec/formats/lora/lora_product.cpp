#include "taskvec/formats/lora/lora_product.h"

#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/matmul.h"

#include <algorithm>

namespace taskvec::formats {
namespace {

// Blocks of the product whose three parts stay in the cache together.
constexpr int64_t kRows = 64, kColumns = 256, kDepth = 128;

/// Part of a matrix: rows [row, row + rows), columns [column, column + columns).
struct Block {
  int64_t row, rows, column, columns;
};

/// A two-dimensional tensor (a convolution's kernel counts as columns) read as float64.
class Matrix {
 public:
  Matrix(const Checkpoint& checkpoint, const TensorEntry& entry, bool transposed)
      : checkpoint_(checkpoint),
        entry_(entry),
        transposed_(transposed),
        width_(entry.info.shape[0] == 0 ? 0 : entry.info.numel() / entry.info.shape[0]) {}

  /// @param out  block.rows lines of block.columns elements, `stride` apart; the block is one of the transposed matrix where that
  ///             is meant
  void read(const Block& block, double* out, int64_t stride) const {
    if (!transposed_) {
      for (int64_t r = 0; r < block.rows; ++r) read_row(block.row + r, block.column, block.columns, out + r * stride);
      return;
    }
    double line[std::max({kRows, kColumns, kDepth})];
    for (int64_t c = 0; c < block.columns; ++c) {
      read_row(block.column + c, block.row, block.rows, line);
      for (int64_t r = 0; r < block.rows; ++r) out[r * stride + c] = line[r];
    }
  }

 private:
  void read_row(int64_t row, int64_t column, int64_t n, double* out) const {
    const int64_t item = itemsize(entry_.info.dtype);
    const TensorRange range(checkpoint_, entry_, static_cast<uint64_t>((row * width_ + column) * item),
                            static_cast<uint64_t>(n * item));
    kernels::convert(entry_.info.dtype, range.bytes(), Dtype::F64,
                     std::as_writable_bytes(std::span(out, static_cast<size_t>(n))));
  }

  const Checkpoint& checkpoint_;
  const TensorEntry& entry_;
  bool transposed_;
  int64_t width_;
};

struct Scratch {
  std::vector<double> left = std::vector<double>(kRows * kDepth), right = std::vector<double>(kDepth * kColumns),
                      sums = std::vector<double>(kRows * kColumns);
};

/// sums := left * right over the whole depth, in its order; rows of `sums` are kColumns apart.
void multiply(const Matrix& left, const Matrix& right, const Block& block, int64_t depth, Scratch& scratch) {
  std::fill_n(scratch.sums.begin(), block.rows * kColumns, 0.0);
  for (int64_t first = 0; first < depth; first += kDepth) {
    const int64_t n = std::min(kDepth, depth - first);
    left.read({block.row, block.rows, first, n}, scratch.left.data(), n);
    right.read({first, n, block.column, block.columns}, scratch.right.data(), kColumns);
    // Always over whole lines: what lies behind the block's columns is of no use, and does no harm.
    kernels::multiply_add(scratch.left.data(), scratch.right.data(), scratch.sums.data(), block.rows, n, kColumns);
  }
}

}  // namespace

void lora_product(const Checkpoint& weights, const LoraFactors& factors, const Shape& shape, int64_t first,
                  std::span<std::byte> out) {
  if (out.empty()) return;
  const Matrix a(weights, *factors.a, factors.transposed), b(weights, *factors.b, factors.transposed);
  const Matrix &left = factors.transposed ? a : b, &right = factors.transposed ? b : a;
  const int64_t width = numel(shape) / shape[0], end = first + static_cast<int64_t>(out.size() / sizeof(float));
  thread_local Scratch scratch;

  const auto rectangle = [&](const Block& whole) {
    for (int64_t row = whole.row; row < whole.row + whole.rows; row += kRows) {
      for (int64_t column = whole.column; column < whole.column + whole.columns; column += kColumns) {
        const Block block{row, std::min(kRows, whole.row + whole.rows - row), column,
                          std::min(kColumns, whole.column + whole.columns - column)};
        multiply(left, right, block, factors.rank, scratch);
        for (auto& sum : std::span(scratch.sums).first(static_cast<size_t>(block.rows * kColumns))) sum *= factors.scale;
        for (int64_t r = 0; r < block.rows; ++r) {
          const auto n = static_cast<size_t>(block.columns);
          const std::span<const double> sums(scratch.sums.data() + r * kColumns, n);
          const auto place = static_cast<size_t>((row + r) * width + column - first) * sizeof(float);
          kernels::convert(Dtype::F64, std::as_bytes(sums), Dtype::F32, out.subspan(place, n * sizeof(float)));
        }
      }
    }
  };
  // A range is the rest of a row, whole rows, and the beginning of a row.
  for (int64_t at = first; at < end;) {
    const int64_t row = at / width, column = at % width;
    const bool whole = column == 0 && end - at >= width;
    const int64_t rows = whole ? (end - at) / width : 1, columns = whole ? width : std::min(width - column, end - at);
    rectangle({row, rows, column, columns});
    at += rows * columns;
  }
}

}  // namespace taskvec::formats
