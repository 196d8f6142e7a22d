#include "taskvec/report/canvas.h"

#include "taskvec/core/error.h"
#include "taskvec/report/signature.h"
#include "taskvec/report/text_width.h"

#include <cairo-svg.h>

#include <algorithm>
#include <array>
#include <numbers>

namespace taskvec::report {
namespace {

constexpr int kMaxSide = 16'000;
constexpr double kPi = std::numbers::pi;

cairo_surface_t* make_surface(int width, int height) {
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide) {
    fail(ErrorCode::InvalidArgument, "a picture of {} x {} pixels: 1 to {} a side can be drawn", width, height, kMaxSide);
  }
  return cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
}

/// What is drawn is remembered, to be played into any format.
cairo_surface_t* make_recording(int width, int height) {
  cairo_surface_destroy(make_surface(width, height));  // checks the size
  const cairo_rectangle_t extents{0, 0, static_cast<double>(width), static_cast<double>(height)};
  return cairo_recording_surface_create(CAIRO_CONTENT_COLOR, &extents);
}

void set(cairo_t* context, const Colour& colour) { cairo_set_source_rgb(context, colour.red, colour.green, colour.blue); }

cairo_status_t append(void* text, const unsigned char* data, unsigned int size) {
  static_cast<std::string*>(text)->append(reinterpret_cast<const char*>(data), size);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

Colour series_colour(size_t index) {
  using namespace colours;
  constexpr std::array palette{kBlue, kVermillion, kGreen, kPurple, kOrange, kSky, kBlack, kOlive};
  return palette[index % palette.size()];
}

Colour mix(const Colour& a, const Colour& b, double share) {
  const auto between = [share](double from, double to) { return from + share * (to - from); };
  return {between(a.red, b.red), between(a.green, b.green), between(a.blue, b.blue)};
}

Canvas::Canvas(int width, int height)
    : width_(width),
      height_(height),
      surface_(make_recording(width, height), &cairo_surface_destroy),
      context_(cairo_create(surface_.get()), &cairo_destroy) {
  box(0, 0, width, height, colours::kWhite);
}

void Canvas::select(const Type& type) const {
  // Where the family is missing, fontconfig takes the nearest that is there.
  cairo_select_font_face(context(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                         type.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(context(), type.size);
  set(context(), type.colour);
}

double Canvas::text_width(std::string_view text, const Type& type) const {
  select(type);
  cairo_text_extents_t extents;
  cairo_text_extents(context(), clean(text).c_str(), &extents);
  return extents.x_advance;
}

void Canvas::text(std::string_view text, double x, double y, double max_width, const Type& type) const {
  const std::string whole = clean(prefix(text, 2'000));
  std::string shown = whole;
  // The longest beginning that fits, by bisection.
  if (text_width(shown, type) > max_width) {
    int fits = 0;
    for (int low = 0, high = report::text_width(whole); low <= high;) {
      const int middle = (low + high) / 2;
      const bool ok = text_width(shorten(whole, middle), type) <= max_width;
      if (ok) fits = middle;
      (ok ? low : high) = ok ? middle + 1 : middle - 1;
    }
    shown = shorten(whole, fits);
  }
  const double width = text_width(shown, type);
  const double shift = type.anchor == Anchor::Left ? 0 : type.anchor == Anchor::Middle ? width / 2 : width;
  cairo_move_to(context(), x - shift, y);
  cairo_show_text(context(), shown.c_str());
}

void Canvas::title(std::string_view words, double x, double y, double max_width, double size) const {
  constexpr double kSmallest = 11;
  Type type{size, colours::kBlack, true, Anchor::Left};
  while (type.size > kSmallest && text_width(words, type) > max_width) type.size -= 1;
  text(words, x, y, max_width, type);
}

void Canvas::vertical_text(std::string_view words, double x, double y, double max_width, const Type& type) const {
  cairo_save(context());
  cairo_translate(context(), x, y);
  cairo_rotate(context(), -kPi / 2);
  text(words, 0, 0, max_width, type);
  cairo_restore(context());
}

void Canvas::line(double x0, double y0, double x1, double y1, const Colour& colour, double thickness, bool dashed) const {
  constexpr std::array<double, 2> kDashes{8, 6};
  set(context(), colour);
  cairo_set_line_width(context(), thickness);
  cairo_set_dash(context(), kDashes.data(), dashed ? 2 : 0, 0);
  cairo_move_to(context(), x0, y0);
  cairo_line_to(context(), x1, y1);
  cairo_stroke(context());
  cairo_set_dash(context(), nullptr, 0, 0);
}

void Canvas::box(double x, double y, double width, double height, const Colour& colour) const {
  set(context(), colour);
  cairo_rectangle(context(), x, y, width, height);
  cairo_fill(context());
}

void Canvas::frame(double x, double y, double width, double height, const Colour& colour, double thickness) const {
  set(context(), colour);
  cairo_set_line_width(context(), thickness);
  cairo_rectangle(context(), x, y, width, height);
  cairo_stroke(context());
}

void Canvas::marker(size_t index, double x, double y, double radius, const Colour& colour) const {
  set(context(), colour);
  cairo_new_path(context());  // text leaves its end as the current point
  if (index % 4 == 0) {
    cairo_arc(context(), x, y, radius, 0, 2 * kPi);
  } else {
    // Regular polygons of about the disc's area: square, triangle, diamond.
    const int corners = index % 4 == 2 ? 3 : 4;
    const double reach = radius * (corners == 3 ? 1.4 : 1.25), turn = index % 4 == 1 ? kPi / 4 : -kPi / 2;
    for (int i = 0; i < corners; ++i) {
      const double angle = turn + 2 * kPi * i / corners;
      cairo_line_to(context(), x + reach * std::cos(angle), y + reach * std::sin(angle));
    }
    cairo_close_path(context());
  }
  cairo_fill_preserve(context());
  set(context(), colours::kWhite);
  cairo_set_line_width(context(), 1);
  cairo_stroke(context());
}

void Canvas::image(const unsigned char* pixels, int height, int width, int channels, double x, double y, int scale) const {
  const std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> source(make_surface(width, height),
                                                                                  &cairo_surface_destroy);
  unsigned char* rows = cairo_image_surface_get_data(source.get());
  const int stride = cairo_image_surface_get_stride(source.get());
  for (int row = 0; row < height; ++row) {
    auto* out = reinterpret_cast<uint32_t*>(rows + static_cast<std::ptrdiff_t>(row) * stride);
    for (int column = 0; column < width; ++column, pixels += channels) {
      out[column] = static_cast<uint32_t>(pixels[0]) << 16 | static_cast<uint32_t>(pixels[channels > 1 ? 1 : 0]) << 8 |
                    static_cast<uint32_t>(pixels[channels > 1 ? 2 : 0]);
    }
  }
  cairo_surface_mark_dirty(source.get());
  cairo_save(context());
  cairo_translate(context(), x, y);
  cairo_scale(context(), scale, scale);
  cairo_set_source_surface(context(), source.get(), 0, 0);
  cairo_pattern_set_filter(cairo_get_source(context()), CAIRO_FILTER_NEAREST);
  cairo_rectangle(context(), 0, 0, width, height);
  cairo_fill(context());
  cairo_restore(context());
}

void Canvas::play(cairo_surface_t* target) const {
  const std::unique_ptr<cairo_t, decltype(&cairo_destroy)> context(cairo_create(target), &cairo_destroy);
  cairo_set_source_surface(context.get(), surface_.get(), 0, 0);
  cairo_paint(context.get());
  check(cairo_status(context.get()));
}

void Canvas::check(cairo_status_t status) {
  if (status != CAIRO_STATUS_SUCCESS)
    fail(ErrorCode::Numeric, "the picture could not be drawn: {}", cairo_status_to_string(status));
}

std::string Canvas::png() const {
  check(cairo_status(context()));
  const std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> image(make_surface(width_, height_),
                                                                                 &cairo_surface_destroy);
  play(image.get());
  std::string bytes;
  check(cairo_surface_write_to_png_stream(image.get(), append, &bytes));
  constexpr size_t kHeaderBytes = 33;  // signature and IHDR
  bytes.insert(kHeaderBytes, png_signature());
  return bytes;
}

std::string Canvas::svg() const {
  check(cairo_status(context()));
  std::string text;
  const std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> image(
      cairo_svg_surface_create_for_stream(append, &text, width_, height_), &cairo_surface_destroy);
  cairo_svg_surface_set_document_unit(image.get(), CAIRO_SVG_UNIT_PX);
  play(image.get());
  cairo_surface_finish(image.get());
  check(cairo_surface_status(image.get()));
  text.insert(text.find('\n') + 1, std::string(kSvgSignature) + "\n");
  return text;
}

}  // namespace taskvec::report
