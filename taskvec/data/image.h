#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace taskvec::data {

/// 8-bit pixels, rows from the top, channels interleaved: 1 (gray) or 3 (RGB).
struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  ///< height * width * channels
};

/// Decodes JPEG or PNG (by content) as Pillow's open().convert("RGB") does: palettes resolved, alpha dropped, 16 bit reduced,
/// CMYK and gray JPEG converted; gray stays 1 channel. Images over 178 megapixels are refused.
/// @param origin  what error messages call it. @throws Error{Format} naming it.
Image decode_image(std::span<const std::byte> bytes, std::string_view origin);

/// Bicubic (a = -0.5) with antialiasing, 8 bits in and out: equal to Pillow's Image.resize(BICUBIC).
Image resize_bicubic(const Image& image, int64_t height, int64_t width);

/// The middle `height` x `width`, padded with zeros where the image is smaller, as CLIPImageProcessor does.
Image center_crop(const Image& image, int64_t height, int64_t width);

/// PNG bytes of an image.
std::vector<std::byte> encode_png(const Image& image);

}  // namespace taskvec::data
