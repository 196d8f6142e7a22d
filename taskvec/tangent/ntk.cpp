#include "taskvec/tangent/ntk.h"

#include "taskvec/core/error.h"

#include <algorithm>
#include <numeric>

namespace taskvec::tangent {
namespace {

/// ∇ f_c of the samples [begin, end): [end - begin, parameters].
at::Tensor gradients(const Linearized& network, const at::Tensor& inputs, int64_t begin, int64_t end, const at::Tensor& cotangent,
                     const NtkOptions& options) {
  std::vector<at::Tensor> rows;
  for (int64_t i = begin; i < end; ++i) {
    std::vector<at::Tensor> parts;
    for (const auto& entry : network.vjp(inputs.narrow(0, i, 1), cotangent, options.include))
      parts.push_back(entry.second.reshape(-1));
    rows.push_back(at::cat(parts));
  }
  return at::stack(rows);
}

std::vector<int64_t> coordinates(const NtkOptions& options, int64_t count) {
  std::vector<int64_t> chosen = options.outputs;
  if (chosen.empty()) {
    chosen.resize(static_cast<size_t>(count));
    std::iota(chosen.begin(), chosen.end(), 0);
  }
  for (const int64_t c : chosen) {
    if (c < 0 || c >= count) fail(ErrorCode::InvalidArgument, "output {} of a network with {} outputs", c, count);
  }
  return chosen;
}

int64_t tile_rows(const Linearized& network, const at::Tensor& inputs, const NtkOptions& options) {
  int64_t elements = 0;
  for (const auto& [name, tensor] : network.origin()) elements += !options.include || options.include(name) ? tensor.numel() : 0;
  if (elements == 0) fail(ErrorCode::InvalidArgument, "a tangent kernel of no parameters; the pattern leaves none");
  const int64_t bytes = elements * static_cast<int64_t>(inputs.element_size()), rows = options.memory / (2 * bytes);
  if (rows >= 1) return rows;
  fail(ErrorCode::InvalidArgument,
       "two gradients take {} bytes, more than the {} that the tangent kernel may use; give it more "
       "or fewer parameters",
       2 * bytes, options.memory);
}

}  // namespace

at::Tensor ntk_gram(const Linearized& network, const at::Tensor& inputs, const NtkOptions& options) {
  const int64_t samples = inputs.size(0), tile = tile_rows(network, inputs, options);
  const at::Tensor first = network.jvp({}, inputs.narrow(0, 0, 1)).primal;
  at::Tensor gram = at::zeros({samples, samples}, at::kDouble);
  for (const int64_t c : coordinates(options, first.size(1))) {
    const at::Tensor cotangent = at::zeros_like(first).index_fill_(1, at::tensor({c}, at::kLong), 1);
    for (int64_t i = 0; i < samples; i += tile) {
      const int64_t i_end = std::min(samples, i + tile);
      const at::Tensor left = gradients(network, inputs, i, i_end, cotangent, options);
      for (int64_t j = i; j < samples; j += tile) {
        const int64_t j_end = std::min(samples, j + tile);
        const at::Tensor right = j == i ? left : gradients(network, inputs, j, j_end, cotangent, options);
        gram.slice(0, i, i_end).slice(1, j, j_end) += at::matmul(left, right.t()).to(at::kDouble);
        if (options.on_entries) options.on_entries((i_end - i) * (j_end - j) * (i == j ? 1 : 2));
      }
    }
  }
  return gram.triu() + gram.triu(1).t();
}

}  // namespace taskvec::tangent
