#include "taskvec/report/canvas.h"
#include "taskvec/report/check_plot.h"
#include "taskvec/report/plot.h"

#include <algorithm>

namespace taskvec::report {
namespace {

using namespace colours;

constexpr int kImage = 112, kColumn = 158, kLine = 22, kMargin = 24, kMostColumns = 8, kHead = 64, kMostName = 170;

void check(const ImageStrip& strip) {
  check_count(strip.tiles.size(), 200, "image strip", "tiles");
  check_count(strip.models.size(), 4, "image strip", "models");
  for (size_t i = 0; i < strip.tiles.size(); ++i) {
    const auto& tile = strip.tiles[i];
    const auto side = [](int64_t n) { return n >= 1 && n <= 512; };
    if (!side(tile.height) || !side(tile.width) || (tile.channels != 1 && tile.channels != 3)) {
      fail(ErrorCode::InvalidArgument,
           "image strip: tile {} has {} x {} pixels of {} channels: expected 1 to 512 a side, 1 or 3 channels", i, tile.height,
           tile.width, tile.channels);
    }
    check_length(tile.pixels.size(), static_cast<size_t>(tile.height * tile.width * tile.channels), "image strip",
                 "pixels of tile " + std::to_string(i));
    check_length(tile.answers.size(), strip.models.size(), "image strip", "answers of tile " + std::to_string(i));
  }
}

/// Pixels grow by a whole factor, so that each stays a square; larger images shrink by Cairo.
void draw_image(const Canvas& canvas, const ImageStrip::Tile& tile, double x, double y) {
  const auto height = static_cast<int>(tile.height), width = static_cast<int>(tile.width), larger = std::max(height, width);
  const int factor = std::max(1, kImage / larger);
  const double shrink = std::min(1.0, static_cast<double>(kImage) / larger);
  cairo_save(canvas.context());
  cairo_translate(canvas.context(), x + (kImage - factor * shrink * width) / 2, y + (kImage - factor * shrink * height) / 2);
  cairo_scale(canvas.context(), shrink, shrink);
  canvas.image(tile.pixels.data(), height, width, static_cast<int>(tile.channels), 0, 0, factor);
  cairo_restore(canvas.context());
}

/// A tick or a cross, so that colour is not all that tells right from wrong.
void draw_verdict(const Canvas& canvas, double x, double y, bool right) {
  const Colour colour = right ? kGreen : kVermillion;
  if (right) {
    canvas.line(x, y - 6, x + 4, y - 1, colour, 2.5);
    canvas.line(x + 4, y - 1, x + 11, y - 12, colour, 2.5);
  } else {
    canvas.line(x + 1, y - 11, x + 10, y - 1, colour, 2.5);
    canvas.line(x + 10, y - 11, x + 1, y - 1, colour, 2.5);
  }
}

void draw_tile(const Canvas& canvas, const ImageStrip::Tile& tile, double x, double y) {
  draw_image(canvas, tile, x + (kColumn - kImage) / 2.0, y);
  double baseline = y + kImage + kLine;
  canvas.text(tile.truth, x + kColumn / 2.0, baseline, kColumn - 10, {16, kBlack, true, Anchor::Middle});
  for (const auto& answer : tile.answers) {
    baseline += kLine;
    const Canvas::Type type{16, answer.right ? kGreen : kVermillion, false, Anchor::Left};
    const double room = kColumn - 10 - 17, width = std::min(canvas.text_width(answer.text, type), room);
    const double start = x + (kColumn - width - 17) / 2;
    draw_verdict(canvas, start, baseline, answer.right);
    canvas.text(answer.text, start + 17, baseline, room, type);
  }
}

Canvas draw(const ImageStrip& strip) {
  check(strip);
  const auto count = static_cast<int>(strip.tiles.size()), columns = std::min(count, kMostColumns),
             rows = (count + columns - 1) / columns;
  const int row_height = kImage + kLine * (1 + static_cast<int>(strip.models.size())) + 26;
  const Canvas::Type label{16, kGray, false, Anchor::Right};
  double names = 0;
  {
    const Canvas ruler(1, 1);
    names = ruler.text_width("true class", label);
    for (const std::string& model : strip.models) names = std::max(names, ruler.text_width(model, label));
  }
  const int left = kMargin + static_cast<int>(std::min(names + 1, double{kMostName})) + 12;
  const int width = std::max(left + columns * kColumn + kMargin, 720);
  Canvas canvas(width, kHead + rows * row_height + 6);
  canvas.title(strip.title, kMargin, 38, width - 2 * kMargin, 24);
  for (int row = 0; row < rows; ++row) {
    double baseline = kHead + row * row_height + kImage + kLine;
    canvas.text("true class", left - 12, baseline, kMostName, label);
    for (const std::string& model : strip.models) canvas.text(model, left - 12, baseline += kLine, kMostName, label);
  }
  for (int i = 0; i < count; ++i) {
    draw_tile(canvas, strip.tiles[static_cast<size_t>(i)], left + i % columns * kColumn, kHead + i / columns * row_height);
  }
  return canvas;
}

}  // namespace

std::string png(const ImageStrip& strip) { return draw(strip).png(); }
std::string svg(const ImageStrip& strip) { return draw(strip).svg(); }

}  // namespace taskvec::report
