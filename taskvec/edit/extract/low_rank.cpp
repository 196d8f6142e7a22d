#include "taskvec/edit/extract/low_rank.h"

#include "taskvec/core/parallel.h"
#include "taskvec/kernels/matmul.h"

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>

namespace taskvec::edit {
namespace {

constexpr int64_t kOversampling = 8, kPowerIterations = 2;
constexpr int64_t kColumnUnit = 16;          // of multiply_add()
constexpr int64_t kRows = 64, kDepth = 256;  // of blocks that stay in the cache

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

class Projector {
 public:
  Projector(std::span<const double> matrix, int64_t rows, int64_t columns)
      : data_(matrix.data()), rows_(rows), columns_(columns) {}

  /// matrix * x; columns of x are a multiple of kColumnUnit.
  Matrix times(const Matrix& x) const {
    return product(rows_, columns_, x, [this](int64_t row, int64_t rows, int64_t first, int64_t n, double* out) {
      for (int64_t r = 0; r < rows; ++r) std::copy_n(data_ + (row + r) * columns_ + first, n, out + r * n);
    });
  }

  /// matrix^T * x
  Matrix transposed_times(const Matrix& x) const {
    return product(columns_, rows_, x, [this](int64_t row, int64_t rows, int64_t first, int64_t n, double* out) {
      for (int64_t k = 0; k < n; ++k)
        for (int64_t r = 0; r < rows; ++r) out[r * n + k] = data_[(first + k) * columns_ + row + r];
    });
  }

 private:
  /// @param read  copies a block of the left matrix: rows [row, row + rows), columns [first, first + n)
  template <typename Read>
  static Matrix product(int64_t height, int64_t depth, const Matrix& x, const Read& read) {
    Matrix out = Matrix::Zero(height, x.cols());
    parallel_for((height + kRows - 1) / kRows, [&](int64_t i) {
      const int64_t row = i * kRows, rows = std::min(kRows, height - row);
      std::vector<double> block(static_cast<size_t>(kRows * kDepth));
      for (int64_t first = 0; first < depth; first += kDepth) {
        const int64_t n = std::min(kDepth, depth - first);
        read(row, rows, first, n, block.data());
        kernels::multiply_add(block.data(), x.data() + first * x.cols(), out.data() + row * x.cols(), rows, n, x.cols());
      }
    });
    return out;
  }

  const double* data_;
  int64_t rows_, columns_;
};

int64_t padded(int64_t columns) { return (columns + kColumnUnit - 1) / kColumnUnit * kColumnUnit; }

/// An orthonormal basis of the columns of x, `count` vectors, and columns of zeros behind it.
Matrix basis(const Matrix& x, int64_t count) {
  Matrix out = Matrix::Zero(x.rows(), padded(count));
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(x.leftCols(count));
  out.leftCols(count) = qr.householderQ() * Eigen::MatrixXd::Identity(x.rows(), count);
  return out;
}

}  // namespace

LowRank low_rank(std::span<const double> matrix, int64_t rows, int64_t columns, int64_t rank, const Philox& random) {
  const Projector projector(matrix, rows, columns);
  const int64_t count = std::min({rank + kOversampling, rows, columns});
  Matrix directions = Matrix::Zero(columns, padded(count));
  for (int64_t r = 0; r < columns; ++r)
    for (int64_t c = 0; c < count; ++c) directions(r, c) = random.normal(static_cast<uint64_t>(r * count + c));
  Matrix range = basis(projector.times(directions), count);
  for (int64_t i = 0; i < kPowerIterations; ++i)
    range = basis(projector.times(basis(projector.transposed_times(range), count)), count);

  // matrix ~ range * (range^T * matrix); the second factor, transposed, is Q * R, so that only the small R is left to decompose.
  const Eigen::MatrixXd small = projector.transposed_times(range).leftCols(count);
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(small);
  const Eigen::MatrixXd triangle = qr.matrixQR().topRows(count).triangularView<Eigen::Upper>();
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(triangle.transpose(), Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::VectorXd root = svd.singularValues().head(rank).cwiseSqrt();
  const Eigen::MatrixXd q = qr.householderQ() * Eigen::MatrixXd::Identity(columns, count);

  LowRank result{std::vector<double>(static_cast<size_t>(rows * rank)), std::vector<double>(static_cast<size_t>(rank * columns))};
  Eigen::Map<Matrix>(result.left.data(), rows, rank) = range.leftCols(count) * svd.matrixU().leftCols(rank) * root.asDiagonal();
  Eigen::Map<Matrix>(result.right.data(), rank, columns) = root.asDiagonal() * (q * svd.matrixV().leftCols(rank)).transpose();
  return result;
}

}  // namespace taskvec::edit
