#include "taskvec/data/image.h"

#include "taskvec/core/error.h"

#include <png.h>
#include <turbojpeg.h>

#include <cstring>
#include <memory>

namespace taskvec::data {
namespace {

constexpr int64_t kMaxPixels = 178'956'970;  // Pillow's limit
constexpr int64_t kMaxSide = 1 << 20;

void check_size(int64_t height, int64_t width, std::string_view origin) {
  if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide || height * width > kMaxPixels) {
    fail(ErrorCode::Format, "{}: an image of {} x {} pixels is refused; at most {} pixels", origin, width, height, kMaxPixels);
  }
}

Image decode_jpeg(std::span<const std::byte> bytes, std::string_view origin) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<unsigned long>(bytes.size());
  int width = 0, height = 0, sampling = 0, space = 0;
  if (tjDecompressHeader3(decoder.get(), data, size, &width, &height, &sampling, &space) != 0) {
    fail(ErrorCode::Format, "{}: not a readable JPEG: {}", origin, tjGetErrorStr2(decoder.get()));
  }
  check_size(height, width, origin);
  const bool gray = space == TJCS_GRAY, cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
  Image image{height, width, gray ? 1 : cmyk ? 4 : 3, {}};
  image.pixels.resize(static_cast<size_t>(height * width * image.channels));
  const int format = gray ? TJPF_GRAY : cmyk ? TJPF_CMYK : TJPF_RGB;
  if (tjDecompress2(decoder.get(), data, size, image.pixels.data(), width, 0, height, format, TJFLAG_ACCURATEDCT) != 0) {
    fail(ErrorCode::Format, "{}: broken JPEG: {}", origin, tjGetErrorStr2(decoder.get()));
  }
  if (!cmyk) return image;
  // Adobe stores CMYK inverted, so white is 255 in every channel: RGB is the product with black.
  Image rgb{height, width, 3, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
  for (size_t i = 0; i < static_cast<size_t>(height * width); ++i) {
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
bool decode_png_into(png_structp png, png_infop info, PngReader& reader, Image& image, std::vector<png_bytep>& rows,
                     bool (*fits)(int64_t, int64_t)) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_read_fn(png, &reader, read_png);
  png_read_info(png, info);
  image.height = png_get_image_height(png, info);
  image.width = png_get_image_width(png, info);
  if (!fits(image.height, image.width)) png_error(png, "too many pixels");
  const int type = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
  if (depth == 16) png_set_strip_16(png);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (type & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  image.channels = png_get_channels(png, info);
  const size_t row_bytes = png_get_rowbytes(png, info);
  image.pixels.resize(row_bytes * static_cast<size_t>(image.height));
  rows.resize(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = image.pixels.data() + y * row_bytes;
  png_read_image(png, rows.data());
  png_read_end(png, nullptr);
  return true;
}

Image decode_png(std::span<const std::byte> bytes, std::string_view origin) {
  PngReader reader{bytes, 0, {}};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_png_error, [](png_structp, png_const_charp) {});
  png_infop info = png_create_info_struct(png);
  Image image;
  std::vector<png_bytep> rows;
  const auto fits = [](int64_t h, int64_t w) { return h <= kMaxSide && w <= kMaxSide && h * w <= kMaxPixels; };
  const bool good = decode_png_into(png, info, reader, image, rows, fits);
  png_destroy_read_struct(&png, &info, nullptr);
  if (!good) fail(ErrorCode::Format, "{}: not a readable PNG: {}", origin, reader.error);
  if (image.channels != 1 && image.channels != 3)
    fail(ErrorCode::Unsupported, "{}: a PNG of {} channels", origin, image.channels);
  return image;
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view origin) {
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("\x89PNG")) return decode_png(bytes, origin);
  if (starts_with("\xFF\xD8")) return decode_jpeg(bytes, origin);
  fail(ErrorCode::Format, "{}: neither JPEG nor PNG", origin);
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
