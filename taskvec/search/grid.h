#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::search {

inline constexpr int64_t kMaxAxisValues = 10'000;
inline constexpr int64_t kMaxPoints = 100'000;

/// One axis of a grid: `name=start:stop:step` (both ends included) or `name=v1,v2,v3`.
struct Axis {
  std::string name;
  std::vector<double> values;
};
/// Values of a range are start + i*step rounded to 12 decimals, so that 0:1:0.05 holds 0.15 and not 0.15000000000000002.
/// @throws Error{InvalidArgument} with an example of the right form; more than kMaxAxisValues values are refused.
Axis parse_axis(std::string_view text);

/// The product of the axes, last axis fastest.
/// @throws Error{InvalidArgument} for no axes, an empty or repeated one, or more than kMaxPoints points (naming the sizes).
std::vector<std::vector<double>> grid_points(const std::vector<Axis>& axes);

}  // namespace taskvec::search
