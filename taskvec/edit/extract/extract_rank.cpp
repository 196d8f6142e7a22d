#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"
#include "taskvec/edit/extract/extraction.h"
#include "taskvec/edit/extract/low_rank.h"
#include "taskvec/formats/delta/described_tensor.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/matmul.h"

#include <algorithm>
#include <optional>

namespace taskvec::edit {
namespace {

/// Rows, columns and rank of a tensor's factors.
struct Factors {
  int64_t rows, columns, rank;
};

/// None of what is no matrix, or would be no smaller.
std::optional<Factors> factors_of(const TensorInfo& info, int64_t rank) {
  const int64_t n = info.numel();
  if (info.shape.size() < 2 || n == 0) return std::nullopt;
  const int64_t rows = info.shape[0], columns = n / rows;  // of a convolution's kernel: [out, in * height * width]
  if (rank >= std::min(rows, columns) || rank * (rows + columns) >= n) return std::nullopt;
  return Factors{rows, columns, rank};
}

class RankWriter {
 public:
  RankWriter(const Extraction& extraction, const Differences& differences)
      : extraction_(extraction),
        differences_(differences),
        measures_(differences.tensors().size()),
        writer_(extraction.output, layout()) {}

  void write() {
    Progress progress("extract", extraction_.summary.dense_bytes, "bytes");
    differences_.for_each_tensor([&](size_t t) {
      write_tensor(t);
      progress.add(4 * differences_.tensors()[t].info.numel());
    });
    extraction_.set_error(measures_);
    extraction_.finish(writer_, differences_.fingerprints());
  }

 private:
  formats::OutputLayout layout() {
    formats::OutputLayout layout;
    std::vector<formats::DescribedTensor> described;
    for (const auto& tensor : differences_.tensors()) {
      const TensorInfo info{Dtype::F32, tensor.info.shape};
      const auto factors = factors_of(info, extraction_.options.rank);
      parts_.push_back(layout.tensors.size());
      if (factors) {
        layout.tensors.push_back({tensor.name + formats::kLeftSuffix, {Dtype::F32, {factors->rows, factors->rank}}, 0});
        layout.tensors.push_back({tensor.name + formats::kRightSuffix, {Dtype::F32, {factors->rank, factors->columns}}, 0});
      } else {
        layout.tensors.push_back({tensor.name + formats::kValuesSuffix, info, 0});
      }
      described.push_back({tensor.name, info});
    }
    layout.metadata = extraction_.metadata();
    layout.metadata[formats::kDescriptionsKey] = formats::describe_tensors(described);
    return layout;
  }

  void write_tensor(size_t t) {
    const auto& tensor = differences_.tensors()[t];
    std::vector<double> exact(static_cast<size_t>(tensor.info.numel()));
    differences_.for_each_tile(t, [&](size_t tile) {
      differences_.for_each_block(tile, [&](int64_t first, std::span<const double> values) {
        std::copy(values.begin(), values.end(), exact.begin() + first);
      });
    });
    const auto factors = factors_of(tensor.info, extraction_.options.rank);
    if (!factors) {
      std::vector<std::byte> stored;
      store_values(tensor.name, exact, 1, Dtype::F32, stored, measures_[t]);
      writer_.write(parts_[t], 0, stored);
      return;
    }
    LowRank found =
        low_rank(exact, factors->rows, factors->columns, factors->rank, Philox(extraction_.options.seed, tensor.name));
    store_factor(tensor.name, parts_[t], found.left);
    store_factor(tensor.name, parts_[t] + 1, found.right);
    measure(exact, found, *factors, measures_[t]);
  }

  /// Writes a factor, and rounds it to what was written.
  void store_factor(const std::string& tensor, size_t part, std::vector<double>& factor) {
    std::vector<std::byte> stored;
    Measure rounding;
    store_values(tensor, factor, 1, Dtype::F32, stored, rounding);
    writer_.write(part, 0, stored);
    kernels::convert(Dtype::F32, stored, Dtype::F64, std::as_writable_bytes(std::span(factor)));
  }

  /// The product beside the exact values, row by row; rows are added in order.
  static void measure(std::span<const double> exact, const LowRank& found, const Factors& factors, Measure& total) {
    const int64_t width = (factors.columns + 15) / 16 * 16;  // multiply_add() takes multiples of 16
    std::vector<double> right(static_cast<size_t>(factors.rank * width));
    for (int64_t k = 0; k < factors.rank; ++k)
      std::copy_n(found.right.begin() + k * factors.columns, factors.columns, right.begin() + k * width);
    constexpr int64_t kRows = 16;
    std::vector<Measure> parts(static_cast<size_t>((factors.rows + kRows - 1) / kRows));
    parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const int64_t row = i * kRows, rows = std::min(kRows, factors.rows - row);
      std::vector<double> product(static_cast<size_t>(rows * width));
      kernels::multiply_add(found.left.data() + row * factors.rank, right.data(), product.data(), rows, factors.rank, width);
      std::vector<float> read(product.size());  // as a reader makes it
      kernels::convert(Dtype::F64, std::as_bytes(std::span(product)), Dtype::F32, std::as_writable_bytes(std::span(read)));
      for (int64_t r = 0; r < rows; ++r) {
        const auto* ours = reinterpret_cast<const std::byte*>(exact.data() + (row + r) * factors.columns);
        const auto* theirs = reinterpret_cast<const std::byte*>(read.data() + r * width);
        parts[static_cast<size_t>(i)].add(kernels::difference(Dtype::F64, ours, Dtype::F32, theirs, factors.columns));
      }
    });
    for (const Measure& part : parts) {
      total.error += part.error;
      total.norm += part.norm;
    }
  }

  const Extraction& extraction_;
  const Differences& differences_;
  std::vector<size_t> parts_;  // of each tensor, the position of its first part in the file
  std::vector<Measure> measures_;
  formats::CheckpointWriter writer_;
};

}  // namespace

void extract_rank(const Extraction& extraction, const Differences& differences) { RankWriter(extraction, differences).write(); }

}  // namespace taskvec::edit
