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

Colour shade(double value, double low, double high) {
  if (!std::isfinite(value)) return kLightGray;
  const double share = value >= 0 ? value / std::max(high, 1e-300) : value / std::min(low, -1e-300);
  return mix(kWhite, value >= 0 ? kBlue : kOrange, std::clamp(share, 0.0, 1.0));
}

}  // namespace

std::string png(const HeatMap& map) {
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
  const double cell = std::clamp(640.0 / n, map.numbers ? 46.0 : 22.0, 110.0), left = kMargin + widest + 12;
  // Labels below the columns stand upright as soon as they are wider than a column.
  const bool upright = widest > cell - 8;
  const double below = upright ? widest + 16 : 30;
  const double width = std::max(left + n * cell + kMargin, 420.0), height = kTop + n * cell + below + kMargin;

  const Canvas canvas(static_cast<int>(width), static_cast<int>(height));
  canvas.text(map.title, kMargin, 38, width - 2 * kMargin, {22, kBlack, true, Anchor::Left});
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
  return canvas.png();
}

}  // namespace taskvec::report
