#include "taskvec/train/augment.h"

#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"

#include <cmath>

namespace taskvec::train {
namespace {

constexpr int64_t kElasticGrid = 4;
constexpr uint64_t kDrawsPerImage = 64;  // 6 for the affine map, 2 * 16 for the elastic one

/// The inverse map (output place -> input place, both in [-1, 1]) of one image.
at::Tensor affine_map(const Philox& random, uint64_t base, const AugmentOptions& options) {
  auto symmetric = [&](uint64_t draw, double range) { return (2 * random.uniform(base + draw) - 1) * range; };
  const double angle = symmetric(0, options.rotation), shear = symmetric(1, options.shear);
  const double scale = std::exp(symmetric(2, options.scale)), aspect = std::exp(symmetric(3, options.aspect));
  const double x = symmetric(4, 2 * options.shift), y = symmetric(5, 2 * options.shift);  // the side is 2 in these units
  const double sx = scale * aspect, sy = scale / aspect, c = std::cos(angle), s = std::sin(angle);
  return at::tensor({sx * c, sx * (shear * c - s), x, sy * s, sy * (shear * s + c), y}, at::kFloat).view({2, 3});
}

}  // namespace

at::Tensor augment(const at::Tensor& pixels, const AugmentOptions& options, uint64_t seed, int64_t first) {
  const at::NoGradGuard no_grad;
  const int64_t batch = pixels.size(0), height = pixels.size(2), width = pixels.size(3);
  const Philox random(seed, "augment");
  auto maps = at::empty({batch, 2, 3}, at::kFloat);
  auto bumps = at::empty({batch, 2, kElasticGrid, kElasticGrid}, at::kFloat);
  parallel_for(batch, [&](int64_t i) {
    const uint64_t base = static_cast<uint64_t>(first + i) * kDrawsPerImage;
    const auto map = affine_map(random, base, options);
    std::copy_n(map.const_data_ptr<float>(), 6, maps.mutable_data_ptr<float>() + 6 * i);
    float* bump = bumps.mutable_data_ptr<float>() + i * 2 * kElasticGrid * kElasticGrid;
    for (uint64_t k = 0; k < 2 * kElasticGrid * kElasticGrid; ++k)
      bump[k] = static_cast<float>(2 * options.elastic * random.normal(base + 6 + k));
  });
  auto grid = at::affine_grid_generator(maps, {batch, 1, height, width}, /*align_corners=*/false);
  const auto displacement = at::upsample_bicubic2d(bumps, {height, width}, /*align_corners=*/true);
  grid = grid + displacement.permute({0, 2, 3, 1});
  const auto warped = at::grid_sampler(pixels.to(at::kFloat), grid, /*bilinear*/ 0, /*zeros*/ 0, /*align_corners=*/false);
  return warped.round_().clamp_(0, 255).to(at::kByte);
}

}  // namespace taskvec::train
