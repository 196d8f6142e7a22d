#pragma once

#include <cairo.h>

#include <memory>
#include <string>
#include <string_view>

namespace taskvec::report {

struct Colour {
  double red, green, blue;
};

namespace colours {
// Okabe and Ito's palette: apart for every kind of colour vision.
inline constexpr Colour kBlue{0.000, 0.447, 0.698}, kOrange{0.902, 0.624, 0.000}, kGreen{0.000, 0.620, 0.451},
    kVermillion{0.835, 0.369, 0.000}, kPurple{0.800, 0.475, 0.655}, kSky{0.337, 0.706, 0.914}, kBlack{0.13, 0.13, 0.15},
    kOlive{0.60, 0.55, 0.10}, kGray{0.42, 0.42, 0.45}, kLightGray{0.88, 0.88, 0.90}, kWhite{1, 1, 1};
}  // namespace colours

/// The colour of series `index`.
Colour series_colour(size_t index);
/// A colour on the way from `a` (0) to `b` (1).
Colour mix(const Colour& a, const Colour& b, double share);

enum class Anchor { Left, Middle, Right };

/// A white picture, as PNG or SVG, with the few shapes that the plots use. Cairo's own call does the rest: context().
class Canvas {
 public:
  /// @throws Error{InvalidArgument} for sizes that Cairo cannot hold
  Canvas(int width, int height);

  cairo_t* context() const { return context_.get(); }
  int width() const { return width_; }
  int height() const { return height_; }

  struct Type {
    double size = 17;
    Colour colour = colours::kBlack;
    bool bold = false;
    Anchor anchor = Anchor::Left;
  };
  /// One line of text, shortened to `max_width` pixels. @param y  of the baseline
  void text(std::string_view text, double x, double y, double max_width, const Type& type) const;
  /// The same, turned by 90 degrees to the left, around (x, y).
  void vertical_text(std::string_view text, double x, double y, double max_width, const Type& type) const;
  /// A line of bold type that becomes smaller rather than shorter.
  void title(std::string_view text, double x, double y, double max_width, double size) const;
  /// Pixels that a text takes.
  double text_width(std::string_view text, const Type& type) const;

  void line(double x0, double y0, double x1, double y1, const Colour& colour, double thickness, bool dashed = false) const;
  void box(double x, double y, double width, double height, const Colour& colour) const;
  void frame(double x, double y, double width, double height, const Colour& colour, double thickness) const;
  /// The mark of series `index`: disc, square, triangle, diamond, ... @param radius  in pixels
  void marker(size_t index, double x, double y, double radius, const Colour& colour) const;
  /// 8-bit pixels, 1 or 3 channels, every one `scale` pixels wide.
  void image(const unsigned char* pixels, int height, int width, int channels, double x, double y, int scale) const;

  /// @throws Error{Numeric} naming Cairo's complaint when something could not be drawn
  std::string png() const;
  std::string svg() const;

 private:
  void select(const Type& type) const;
  void play(cairo_surface_t* target) const;
  static void check(cairo_status_t status);

  int width_, height_;
  std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> surface_;
  std::unique_ptr<cairo_t, decltype(&cairo_destroy)> context_;
};

}  // namespace taskvec::report
