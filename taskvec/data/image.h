#pragma once

#include <array>
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

/// Decodes JPEG, PNG, WebP, BMP, PPM or PGM (by content) as transformers' image processors do: palettes resolved (a transparent
/// entry keeps its colour), an alpha channel composited over white, 16 bit reduced to the high byte, CMYK and gray JPEG
/// converted; gray stays 1 channel. What a decoder only warns of is no error while all rows came. Images over 178 megapixels, and
/// of more than 16 million whose file is too small to hold them, are refused before anything is allocated.
/// @param origin  what error messages call it. @throws Error{Format} naming it.
Image decode_image(std::span<const std::byte> bytes, std::string_view origin);

/// Names of files that decode_image() reads, in lower case.
inline constexpr std::array<std::string_view, 7> kImageExtensions{"jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm"};

/// Whether an extension, without its dot and in any case, is one of these.
bool is_image_extension(std::string_view extension);

/// Bicubic (a = -0.5) with antialiasing, 8 bits in and out: equal to Pillow's Image.resize(BICUBIC).
Image resize_bicubic(const Image& image, int64_t height, int64_t width);

/// The middle `height` x `width`, padded with zeros where the image is smaller, as CLIPImageProcessor does.
Image center_crop(const Image& image, int64_t height, int64_t width);

/// PNG bytes of an image.
std::vector<std::byte> encode_png(const Image& image);

}  // namespace taskvec::data
