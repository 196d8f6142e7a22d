#pragma once

#include <cairo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace taskvec::report {

/// A picture that was read back by libpng (through Cairo), pixels as 0xRRGGBB.
struct PngImage {
  int width = 0, height = 0;
  std::vector<uint32_t> pixels;

  uint32_t at(int x, int y) const { return pixels[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)]; }
  int count(uint32_t colour) const { return static_cast<int>(std::count(pixels.begin(), pixels.end(), colour)); }
};

inline PngImage decode_png(const std::string& bytes) {
  struct Source {
    const std::string& bytes;
    size_t at;
  } source{bytes, 0};
  const auto read = [](void* closure, unsigned char* out, unsigned int size) {
    auto& from = *static_cast<Source*>(closure);
    if (from.bytes.size() - from.at < size) return CAIRO_STATUS_READ_ERROR;
    std::memcpy(out, from.bytes.data() + from.at, size);
    from.at += size;
    return CAIRO_STATUS_SUCCESS;
  };
  cairo_surface_t* surface = cairo_image_surface_create_from_png_stream(read, &source);
  EXPECT_EQ(cairo_surface_status(surface), CAIRO_STATUS_SUCCESS);
  PngImage image{cairo_image_surface_get_width(surface), cairo_image_surface_get_height(surface), {}};
  const int stride = cairo_image_surface_get_stride(surface);
  for (int y = 0; y < image.height; ++y) {
    const auto* row =
        reinterpret_cast<const uint32_t*>(cairo_image_surface_get_data(surface) + static_cast<std::ptrdiff_t>(y) * stride);
    for (int x = 0; x < image.width; ++x) image.pixels.push_back(row[x] & 0xFFFFFF);
  }
  cairo_surface_destroy(surface);
  return image;
}

}  // namespace taskvec::report
