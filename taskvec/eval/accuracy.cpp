#include "taskvec/eval/accuracy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace taskvec::eval {
namespace {

constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % point

std::pair<double, double> wilson(double correct, double n) {
  if (n <= 0) return {0, 1};
  const double p = correct / n, scale = 1 + kZ * kZ / n;
  const double middle = (p + kZ * kZ / (2 * n)) / scale;
  const double half = kZ / scale * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  // Rounding must not move the ends past the value itself, 0 and 1 included.
  return {std::clamp(middle - half, 0.0, p), std::clamp(middle + half, p, 1.0)};
}

}  // namespace

double Accuracy::value() const {
  return n > 0 ? static_cast<double>(correct) / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
}

double Accuracy::low() const { return correct == 0 ? 0 : wilson(static_cast<double>(correct), static_cast<double>(n)).first; }

double Accuracy::high() const { return correct == n ? 1 : wilson(static_cast<double>(correct), static_cast<double>(n)).second; }

}  // namespace taskvec::eval
