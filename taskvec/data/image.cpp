#include "taskvec/data/image.h"

#include "taskvec/core/error.h"

#include <cstdio>  // jpeglib.h needs FILE

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>
#include <webp/decode.h>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_BMP
#define STBI_ONLY_PNM
#define STBI_NO_STDIO
#include <stb/stb_image.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <csetjmp>
#include <cstring>
#include <limits>
#include <memory>

namespace taskvec::data {
namespace {

constexpr int64_t kMaxPixels = 178'956'970;  // Pillow's limit
constexpr int64_t kMaxSide = 1 << 20;
// No coder packs more pixels into a byte (deflate: 1032 bytes), so that a small file cannot ask for much memory.
constexpr int64_t kFreePixels = int64_t{1} << 24, kMaxPixelsPerByte = 1100;

bool fits(int64_t height, int64_t width, size_t file_bytes) {
  return height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide && height * width <= kMaxPixels &&
         height * width <= kFreePixels + kMaxPixelsPerByte * static_cast<int64_t>(file_bytes);
}

void check_size(int64_t height, int64_t width, size_t file_bytes, std::string_view origin) {
  if (fits(height, width, file_bytes)) return;
  fail(ErrorCode::Format, "{}: an image of {} x {} pixels in {} bytes is refused; at most {} pixels, and {} in a byte", origin,
       width, height, file_bytes, kMaxPixels, kMaxPixelsPerByte);
}

/// The colours over white, as transformers' convert_to_rgb composites them (Pillow's alpha_composite, which rounds to nearest).
/// @param image  of 2 or 4 channels, the last of them alpha
Image over_white(const Image& image) {
  const auto colours = static_cast<size_t>(image.channels) - 1, pixels = static_cast<size_t>(image.height * image.width);
  Image out{image.height, image.width, image.channels - 1, std::vector<uint8_t>(pixels * colours)};
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* from = image.pixels.data() + i * (colours + 1);
    const unsigned alpha = from[colours];
    for (size_t c = 0; c < colours; ++c)
      out.pixels[i * colours + c] = static_cast<uint8_t>((from[c] * alpha + 255U * (255U - alpha) + 127U) / 255U);
  }
  return out;
}

/// libjpeg reports errors by a jump, and what it can go on from as warnings; the messages stay here.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message;
  bool rows_lack;  ///< the data ended before the picture did: the rest was made up

  static void on_error(j_common_ptr decoder) {
    auto* errors = reinterpret_cast<JpegErrors*>(decoder->err);
    errors->base.format_message(decoder, errors->message.data());
    std::longjmp(errors->jump, 1);
  }
  static void on_message(j_common_ptr decoder, int level) {
    auto* errors = reinterpret_cast<JpegErrors*>(decoder->err);
    if (level < 0 && errors->base.msg_code == JWRN_HIT_MARKER) errors->rows_lack = true;
  }
};

/// @return false on an error, whose text is in `errors`. No object with a destructor lives across a jump.
bool decode_jpeg_into(jpeg_decompress_struct& decoder, JpegErrors& errors, std::span<const std::byte> bytes, Image& image) {
  if (setjmp(errors.jump)) return false;
  jpeg_create_decompress(&decoder);
  jpeg_mem_src(&decoder, reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&decoder, TRUE);
  image.height = decoder.image_height;
  image.width = decoder.image_width;
  if (!fits(image.height, image.width, bytes.size())) {
    std::strcpy(errors.message.data(), "it has more pixels than are accepted of a file of its size");
    return false;
  }
  const bool gray = decoder.jpeg_color_space == JCS_GRAYSCALE;
  const bool cmyk = decoder.jpeg_color_space == JCS_CMYK || decoder.jpeg_color_space == JCS_YCCK;
  decoder.out_color_space = gray ? JCS_GRAYSCALE : cmyk ? JCS_CMYK : JCS_RGB;
  decoder.dct_method = JDCT_ISLOW;
  jpeg_start_decompress(&decoder);
  image.channels = decoder.output_components;
  image.pixels.resize(static_cast<size_t>(image.height * image.width * image.channels));
  while (decoder.output_scanline < decoder.output_height) {
    unsigned char* row = image.pixels.data() + decoder.output_scanline * static_cast<size_t>(image.width * image.channels);
    jpeg_read_scanlines(&decoder, &row, 1);
  }
  // What follows the rows is no part of the picture: jpeg_finish_decompress() would only complain about it.
  return true;
}

Image decode_jpeg(std::span<const std::byte> bytes, std::string_view origin) {
  JpegErrors errors{};
  jpeg_decompress_struct decoder{};
  decoder.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = JpegErrors::on_error;
  errors.base.emit_message = JpegErrors::on_message;
  Image image;
  const bool good = decode_jpeg_into(decoder, errors, bytes, image);
  jpeg_destroy_decompress(&decoder);
  if (!good) fail(ErrorCode::Format, "{}: not a readable JPEG: {}", origin, errors.message.data());
  if (errors.rows_lack) fail(ErrorCode::Format, "{}: broken JPEG: the file ends before the picture does", origin);
  if (image.channels != 4) return image;
  // Adobe stores CMYK inverted, so white is 255 in every channel: RGB is the product with black.
  Image rgb{image.height, image.width, 3, std::vector<uint8_t>(static_cast<size_t>(image.height * image.width * 3))};
  for (size_t i = 0; i < static_cast<size_t>(image.height * image.width); ++i) {
    for (size_t c = 0; c < 3; ++c) {
      rgb.pixels[i * 3 + c] = static_cast<uint8_t>((image.pixels[i * 4 + c] * image.pixels[i * 4 + 3] + 127) / 255);
    }
  }
  return rgb;
}

/// libpng reports errors by a jump; the message stays here.
struct PngReader {
  std::span<const std::byte> bytes;
  size_t position = 0;
  bool all_rows = false;  ///< are there; what follows them is no part of the picture
  std::string error;
};

void read_png(png_structp png, png_bytep out, size_t count) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader->bytes.size() - reader->position) png_error(png, "the file ends too early");
  std::memcpy(out, reader->bytes.data() + reader->position, count);
  reader->position += count;
}

[[noreturn]] void on_png_error(png_structp png, png_const_charp message) {
  static_cast<PngReader*>(png_get_error_ptr(png))->error = message;
  longjmp(png_jmpbuf(png), 1);
}

/// @return false on an error, whose text is in `reader`. No object with a destructor lives across a jump.
bool decode_png_into(png_structp png, png_infop info, PngReader& reader, Image& image, std::vector<png_bytep>& rows) {
  if (setjmp(png_jmpbuf(png))) return reader.all_rows;
  png_set_read_fn(png, &reader, read_png);
  png_read_info(png, info);
  image.height = png_get_image_height(png, info);
  image.width = png_get_image_width(png, info);
  if (!fits(image.height, image.width, reader.bytes.size())) png_error(png, "too many pixels");
  const int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
  if (depth == 16) png_set_strip_16(png);
  if (type == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(png);
    png_set_strip_alpha(png);  // of a transparent entry, whose colour counts
  }
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  image.channels = png_get_channels(png, info);
  const size_t row_bytes = png_get_rowbytes(png, info);
  image.pixels.resize(row_bytes * static_cast<size_t>(image.height));
  rows.resize(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = image.pixels.data() + y * row_bytes;
  png_read_image(png, rows.data());
  reader.all_rows = true;
  png_read_end(png, nullptr);
  return true;
}

Image decode_png(std::span<const std::byte> bytes, std::string_view origin) {
  PngReader reader{.bytes = bytes, .error = {}};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_png_error, [](png_structp, png_const_charp) {});
  png_infop info = png_create_info_struct(png);
  Image image;
  std::vector<png_bytep> rows;
  const bool good = decode_png_into(png, info, reader, image, rows);
  png_destroy_read_struct(&png, &info, nullptr);
  if (!good) fail(ErrorCode::Format, "{}: not a readable PNG: {}", origin, reader.error);
  return image.channels % 2 == 0 ? over_white(image) : image;
}

Image decode_webp(std::span<const std::byte> bytes, std::string_view origin) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features{};
  if (WebPGetFeatures(data, bytes.size(), &features) != VP8_STATUS_OK) fail(ErrorCode::Format, "{}: not a readable WebP", origin);
  if (features.has_animation != 0) fail(ErrorCode::Unsupported, "{}: an animated WebP", origin);
  check_size(features.height, features.width, bytes.size(), origin);
  Image image{features.height, features.width, features.has_alpha != 0 ? 4 : 3, {}};
  image.pixels.resize(static_cast<size_t>(image.height * image.width * image.channels));
  const auto decode = features.has_alpha != 0 ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(data, bytes.size(), image.pixels.data(), image.pixels.size(), static_cast<int>(image.width * image.channels)) ==
      nullptr)
    fail(ErrorCode::Format, "{}: broken WebP", origin);
  return features.has_alpha != 0 ? over_white(image) : image;
}

/// Where the pixels of a PPM or PGM begin: behind three numbers, among which comments may be, and one space. 0 where a number has
/// more digits than any may, which stb_image would not notice.
size_t pnm_header(std::span<const std::byte> bytes) {
  constexpr size_t kMostDigits = 7;
  size_t at = 2, numbers = 0;
  const auto is = [&](auto&& what) { return at < bytes.size() && what(std::to_integer<int>(bytes[at])) != 0; };
  while (numbers < 3 && at < bytes.size()) {
    if (is([](int c) { return c == '#'; })) {
      while (is([](int c) { return c != '\n' && c != '\r'; })) ++at;
    } else if (is([](int c) { return std::isdigit(c); })) {
      const size_t first = at;
      while (is([](int c) { return std::isdigit(c); })) ++at;
      if (at - first > kMostDigits) return 0;
      ++numbers;
    } else {
      ++at;
    }
  }
  return at + 1;
}

/// BMP, PPM and PGM.
Image decode_plain(std::span<const std::byte> bytes, std::string_view origin) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = bytes.size() > std::numeric_limits<int>::max() ? 0 : static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  const bool bmp = bytes[0] == std::byte{'B'};
  const size_t header = bmp ? 26 : pnm_header(bytes);
  if (header == 0) fail(ErrorCode::Format, "{}: not a readable PPM or PGM: a number of its header is too large", origin);
  if (stbi_info_from_memory(data, size, &width, &height, &channels) == 0)
    fail(ErrorCode::Format, "{}: not a readable BMP, PPM or PGM: {}", origin, stbi_failure_reason());
  check_size(height, width, bytes.size(), origin);
  // stb_image makes up what a file lacks.
  uint64_t bits = static_cast<uint64_t>(channels) * (stbi_is_16_bit_from_memory(data, size) != 0 ? 16 : 8);
  if (bmp && bytes.size() > 30)
    bits = std::to_integer<uint64_t>(bytes[bytes[14] == std::byte{12} ? 24 : 28]);  // OS/2's, Windows'
  bits = std::max<uint64_t>(bits, 1);
  if (header + static_cast<uint64_t>(width) * static_cast<uint64_t>(height) * bits / 8 > bytes.size())
    fail(ErrorCode::Format, "{}: broken BMP, PPM or PGM: the file ends before the picture does", origin);
  const int wanted = channels == 1 ? 1 : 3;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(stbi_load_from_memory(data, size, &width, &height, &channels, wanted),
                                                         stbi_image_free);
  if (!pixels) fail(ErrorCode::Format, "{}: broken BMP, PPM or PGM: {}", origin, stbi_failure_reason());
  const auto count = static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(wanted);
  return {height, width, wanted, {pixels.get(), pixels.get() + count}};
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view origin) {
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("\x89PNG")) return decode_png(bytes, origin);
  if (starts_with("\xFF\xD8")) return decode_jpeg(bytes, origin);
  if (starts_with("RIFF") && bytes.size() > 12 && std::memcmp(bytes.data() + 8, "WEBP", 4) == 0)
    return decode_webp(bytes, origin);
  if (starts_with("BM") || starts_with("P5") || starts_with("P6")) return decode_plain(bytes, origin);
  fail(ErrorCode::Format, "{}: neither JPEG, PNG, WebP, BMP, PPM nor PGM", origin);
}

bool is_image_extension(std::string_view extension) {
  std::string lower(extension);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(kImageExtensions, lower) != kImageExtensions.end();
}

std::vector<std::byte> encode_png(const Image& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  const bool sized = png_image_write_to_memory(&header, nullptr, &size, 0, image.pixels.data(), 0, nullptr) != 0;
  std::vector<std::byte> bytes(size);
  if (!sized || !png_image_write_to_memory(&header, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr)) {
    fail(ErrorCode::Io, "cannot write a PNG of {} x {} pixels: {}", image.width, image.height, header.message);
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace taskvec::data
