#include "taskvec/core/error.h"
#include "taskvec/report/canvas.h"
#include "taskvec/report/check_plot.h"
#include "taskvec/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace taskvec::report {
namespace {

using namespace colours;

constexpr double kTop = 64, kMargin = 24, kMostLabel = 220;
constexpr double kScale = 120;  // room for the colours and their numbers

Colour shade(double value, double low, double high) {
  if (!std::isfinite(value)) return kLightGray;
  const double share = value >= 0 ? value / std::max(high, 1e-300) : value / std::min(low, -1e-300);
  return mix(kWhite, value >= 0 ? kBlue : kOrange, std::clamp(share, 0.0, 1.0));
}

/// What the colours mean: from the highest value down.
void draw_scale(const Canvas& canvas, const HeatMap& map, double x, double y, double height) {
  constexpr int kSteps = 100;
  constexpr double kWide = 18;
  for (int i = 0; i < kSteps; ++i) {
    const double value = map.high + (map.low - map.high) * (i + 0.5) / kSteps;
    canvas.box(x, y + height * i / kSteps, kWide, height / kSteps + 0.5, shade(value, map.low, map.high));
  }
  canvas.frame(x, y, kWide, height, kGray, 1);
  std::vector<double> ticks{map.high, map.low};
  if (map.low < 0 && map.high > 0) ticks.push_back(0);
  for (const double tick : ticks) {
    const double at = y + height * (map.high - tick) / (map.high - map.low);
    canvas.text(fmt::format("{:.3g}", tick), x + kWide + 6, std::clamp(at + 5, y + 12, y + height), 60,
                {15, kGray, false, Anchor::Left});
  }
  if (!map.value_label.empty())
    canvas.vertical_text(map.value_label, x + kWide + 60, y + height / 2, height, {16, kBlack, false, Anchor::Middle});
}

Canvas draw(const HeatMap& map) {
  check_count(map.labels.size(), 40, "heat map", "labels");
  check_length(map.matrix.size(), map.labels.size(), "heat map", "rows");
  for (size_t row = 0; row < map.matrix.size(); ++row) {
    check_length(map.matrix[row].size(), map.labels.size(), "heat map", "row '" + map.labels[row] + "'");
  }
  if (map.frame && (map.frame->first > map.frame->second || map.frame->second >= map.labels.size())) {
    fail(ErrorCode::InvalidArgument, "heat map: the frame from {} to {} is not in {} rows", map.frame->first, map.frame->second,
         map.labels.size());
  }
  const auto n = static_cast<int>(map.labels.size());
  const Canvas::Type label{17, kBlack, false, Anchor::Right};
  double widest = 0;
  {
    const Canvas ruler(1, 1);
    for (const std::string& text : map.labels) widest = std::max(widest, ruler.text_width(text, label));
  }
  widest = std::min(widest + 1, kMostLabel);
  const double cell = std::clamp(640.0 / n, map.numbers ? 46.0 : 22.0, 110.0),
               left = kMargin + (map.y_label.empty() ? 0.0 : 28.0) + widest + 12;
  // Labels below the columns stand upright as soon as they are wider than a column.
  const bool upright = widest > cell - 8;
  const double below = (upright ? widest + 16 : 30) + (map.x_label.empty() ? 0.0 : 30.0);
  const double width = std::max(left + n * cell + kScale, 420.0), height = kTop + n * cell + below + kMargin;

  Canvas canvas(static_cast<int>(width), static_cast<int>(height));
  canvas.title(map.title, kMargin, 38, width - 2 * kMargin, 22);
  for (int row = 0; row < n; ++row) {
    const double y = kTop + row * cell;
    canvas.text(map.labels[static_cast<size_t>(row)], left - 12, y + cell / 2 + 6, widest, label);
    for (int column = 0; column < n; ++column) {
      const double value = map.matrix[static_cast<size_t>(row)][static_cast<size_t>(column)], x = left + column * cell;
      const Colour colour = shade(value, map.low, map.high);
      canvas.box(x + 1, y + 1, cell - 2, cell - 2, colour);
      if (row != column || value != 0) canvas.frame(x + 1, y + 1, cell - 2, cell - 2, kLightGray, 1);
      if (!map.numbers) continue;
      const double brightness = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue;
      std::string number = std::isfinite(value) ? fmt::format("{:.2f}", value) : "-";
      if (number == "-0.00") number = "0.00";
      canvas.text(number, x + cell / 2, y + cell / 2 + 6, cell - 4,
                  {cell < 60 ? 14.0 : 18.0, brightness < 0.55 ? kWhite : kBlack, false, Anchor::Middle});
    }
  }
  if (map.frame) {
    const double first = static_cast<double>(map.frame->first), count = static_cast<double>(map.frame->second) - first + 1;
    canvas.frame(left + first * cell, kTop + first * cell, count * cell, count * cell, kBlack, 3);
  }
  for (int column = 0; column < n; ++column) {
    const double x = left + (column + 0.5) * cell, y = kTop + n * cell;
    const std::string& text = map.labels[static_cast<size_t>(column)];
    if (upright) {
      canvas.vertical_text(text, x + 6, y + 10, widest, label);
    } else {
      canvas.text(text, x, y + 24, cell - 4, {17, kBlack, false, Anchor::Middle});
    }
  }
  const double middle = left + n * cell / 2;
  if (!map.x_label.empty()) canvas.text(map.x_label, middle, height - kMargin + 4, n * cell, {18, kBlack, false, Anchor::Middle});
  if (!map.y_label.empty())
    canvas.vertical_text(map.y_label, kMargin + 8, kTop + n * cell / 2, n * cell, {18, kBlack, false, Anchor::Middle});
  draw_scale(canvas, map, left + n * cell + 20, kTop + 1, n * cell - 2);
  return canvas;
}

}  // namespace

std::string png(const HeatMap& map) { return draw(map).png(); }
std::string svg(const HeatMap& map) { return draw(map).svg(); }

}  // namespace taskvec::report
