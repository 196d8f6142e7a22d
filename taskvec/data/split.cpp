#include "taskvec/core/error.h"
#include "taskvec/core/random.h"
#include "taskvec/data/dataset.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <numeric>

namespace taskvec::data {

TrainVal random_split(int64_t n, int64_t val) {
  if (n < 0 || val < 0 || val > n) fail(ErrorCode::InvalidArgument, "cannot take {} samples for validation from {}", val, n);
  const at::Tensor order = at::randperm(n, at::detail::createCPUGenerator(0), at::TensorOptions(at::kLong));
  const int64_t* indices = order.const_data_ptr<int64_t>();
  return {{indices, indices + (n - val)}, {indices + (n - val), indices + n}};
}

int64_t validation_size(int64_t n) { return std::min<int64_t>(n / 10, 5000); }

std::vector<int64_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch) {
  const Philox random(seed, static_cast<uint64_t>(epoch));
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) {  // Fisher and Yates
    std::swap(order[static_cast<size_t>(i)], order[random.below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

}  // namespace taskvec::data
