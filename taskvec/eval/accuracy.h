#pragma once

#include <cstdint>

namespace taskvec::eval {

/// An accuracy with its 95 % Wilson score interval (Wilson 1927), which holds for few samples and near 0 and 1 too.
struct Accuracy {
  int64_t correct = 0, n = 0;

  double value() const;  ///< correct / n; NaN without samples
  double low() const;    ///< in [0, value()]; 0 without samples
  double high() const;   ///< in [value(), 1]; 1 without samples
};

}  // namespace taskvec::eval
