#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace taskvec::train {

/// Ranges of the random maps that make a rendered glyph look written by another hand; each is uniform in [-x, x] unless it says
/// otherwise.
struct AugmentOptions {
  double rotation = 0.26;  ///< radians (15 degrees)
  double shear = 0.30;
  double scale = 0.20;    ///< of both axes together, around 1
  double aspect = 0.15;   ///< of one axis against the other, around 1
  double shift = 0.10;    ///< of the image's side
  double elastic = 0.06;  ///< of the side; smooth displacements, interpolated from a 4 x 4 grid of normal numbers
};

/// Warps every image with a map of its own, bilinear, black outside.
/// @param pixels  [batch, channels, height, width] uint8
/// @param seed, first  image i's map is a function of (seed, first + i) alone
/// @return        [batch, channels, height, width] uint8
at::Tensor augment(const at::Tensor& pixels, const AugmentOptions& options, uint64_t seed, int64_t first);

}  // namespace taskvec::train
