#include "taskvec/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace taskvec::report {
namespace {

double nice_step(double range, int count) {
  const double raw = range / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::string Axis::label(double tick, bool percent) const {
  if (percent) return fmt::format("{:.0f} %", 100 * tick);
  const double near_zero = 1e-9 * (high - low);
  return fmt::format("{:.6g}", std::abs(tick) < near_zero ? 0.0 : tick);
}

Axis make_axis(std::span<const double> values, double start, double end, int count, bool round_ends) {
  Axis axis{0, 1, start, end, {}};
  bool any = false;
  for (const double value : values) {
    if (!std::isfinite(value) || std::abs(value) > 1e100) continue;
    axis.low = any ? std::min(axis.low, value) : value;
    axis.high = any ? std::max(axis.high, value) : value;
    any = true;
  }
  // One value, or values that only rounding tells apart, still need room.
  const double least = 1e-9 * std::max({std::abs(axis.low), std::abs(axis.high), 1e-100});
  if (axis.high - axis.low < least) {
    const double half = axis.low == 0 ? 0.5 : 0.5 * std::abs(axis.low);
    axis.low -= half;
    axis.high += half;
  }
  const double step = nice_step(axis.high - axis.low, count);
  if (round_ends) {
    axis.low = std::floor(axis.low / step + 1e-9) * step;
    axis.high = std::ceil(axis.high / step - 1e-9) * step;
  }
  for (double i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high + 1e-9 * step; ++i) axis.ticks.push_back(i * step);
  return axis;
}

Axis percent_axis(double start, double end) { return {0, 1, start, end, {0, 0.2, 0.4, 0.6, 0.8, 1.0}}; }

}  // namespace taskvec::report
