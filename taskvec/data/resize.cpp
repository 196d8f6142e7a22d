#include "taskvec/core/error.h"
#include "taskvec/data/image.h"

#include <algorithm>
#include <cmath>

namespace taskvec::data {
namespace {

// Pillow's fixed point: 8 bits of result, 2 of headroom, the rest for the weights.
constexpr int kPrecision = 32 - 8 - 2;

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// The source pixels of one target pixel and their weights.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> make_taps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double widen = std::max(scale, 1.0), support = 2 * widen;  // wider when shrinking: that is the antialiasing
  std::vector<Taps> all(static_cast<size_t>(to));
  std::vector<double> weights;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    Taps& taps = all[static_cast<size_t>(i)];
    taps.first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t last = std::min(from, static_cast<int64_t>(center + support + 0.5));
    weights.clear();
    double sum = 0;
    for (int64_t x = taps.first; x < last; ++x) {
      weights.push_back(bicubic((static_cast<double>(x) - center + 0.5) / widen));
      sum += weights.back();
    }
    for (const double weight : weights) {
      const double fixed = (sum != 0 ? weight / sum : weight) * (1 << kPrecision);
      taps.weights.push_back(static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return all;
}

uint8_t clip8(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

/// Resizes one axis of [outer, from, lanes] to [outer, to, lanes].
std::vector<uint8_t> resample(const std::vector<uint8_t>& in, int64_t outer, int64_t from, int64_t to, int64_t lanes) {
  const auto taps = make_taps(from, to);
  std::vector<uint8_t> out(static_cast<size_t>(outer * to * lanes));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < to; ++i) {
      const Taps& t = taps[static_cast<size_t>(i)];
      const uint8_t* source = in.data() + (o * from + t.first) * lanes;
      uint8_t* target = out.data() + (o * to + i) * lanes;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        int32_t sum = 1 << (kPrecision - 1);
        for (size_t k = 0; k < t.weights.size(); ++k) sum += source[static_cast<int64_t>(k) * lanes + lane] * t.weights[k];
        target[lane] = clip8(sum);
      }
    }
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, int64_t height, int64_t width) {
  if (height < 1 || width < 1) fail(ErrorCode::InvalidArgument, "cannot resize an image to {} x {} pixels", width, height);
  Image result = image;
  const auto along_x = [&] {
    if (width == result.width) return;
    result.pixels = resample(result.pixels, result.height, result.width, width, result.channels);
    result.width = width;
  };
  const auto along_y = [&] {
    if (height == result.height) return;
    result.pixels = resample(result.pixels, 1, result.height, height, result.width * result.channels);
    result.height = height;
  };
  // Pillow 13's order, which shows in the rounding between the passes: rows first where that removes enough of them.
  if (height < image.height && image.height - height > 2 * (image.width - width)) {
    along_y();
    along_x();
  } else {
    along_x();
    along_y();
  }
  return result;
}

Image center_crop(const Image& image, int64_t height, int64_t width) {
  // As transformers: the offset rounds down, for a smaller image the padding before it rounds up.
  const auto offset = [](int64_t have, int64_t want) { return have >= want ? (have - want) / 2 : -((want - have + 1) / 2); };
  const int64_t top = offset(image.height, height), left = offset(image.width, width);
  Image result{height, width, image.channels, std::vector<uint8_t>(static_cast<size_t>(height * width * image.channels))};
  for (int64_t y = std::max<int64_t>(0, -top); y < height && y + top < image.height; ++y) {
    const int64_t begin = std::max<int64_t>(0, -left), end = std::min(width, image.width - left);
    const uint8_t* source = image.pixels.data() + ((y + top) * image.width + begin + left) * image.channels;
    std::copy(source, source + (end - begin) * image.channels, result.pixels.begin() + (y * width + begin) * image.channels);
  }
  return result;
}

}  // namespace taskvec::data
