#pragma once

#include <span>
#include <string>
#include <vector>

namespace taskvec::report {

/// A linear map from values to pixels with round numbers to mark.
struct Axis {
  double low = 0, high = 1;   ///< in values; high > low
  double start = 0, end = 1;  ///< in pixels
  std::vector<double> ticks;

  double at(double value) const { return start + (value - low) / (high - low) * (end - start); }
  std::string label(double tick, bool percent) const;
};

/// From the least to the greatest finite value, with about `count` ticks at 1, 2, 2.5 or 5 times a power of ten.
/// @param round_ends  widen the range to the next ticks
Axis make_axis(std::span<const double> values, double start, double end, int count, bool round_ends);

/// From 0 to 1 with a tick every 0.2.
Axis percent_axis(double start, double end);

}  // namespace taskvec::report
