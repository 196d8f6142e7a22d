#include "taskvec/report/axis.h"
#include "taskvec/report/canvas.h"
#include "taskvec/report/check_plot.h"
#include "taskvec/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace taskvec::report {
namespace {

using namespace colours;

constexpr int kHeight = 560;
constexpr double kLeft = 96, kTop = 108, kBottom = 478, kRight = 24;

void check(const BarChart& chart) {
  check_count(chart.groups.size(), 24, "bar chart", "groups");
  check_count(chart.series.size(), 8, "bar chart", "series");
  for (const auto& series : chart.series) {
    check_length(series.values.size(), chart.groups.size(), "bar chart", "series '" + series.name + "'");
  }
}

Axis y_axis(const BarChart& chart) {
  if (chart.percent) return percent_axis(kBottom, kTop);
  std::vector<double> values{0};
  for (const auto& series : chart.series) values.insert(values.end(), series.values.begin(), series.values.end());
  return make_axis(values, kBottom, kTop, 5, true);
}

void draw_legend(const Canvas& canvas, const BarChart& chart) {
  const double room = (canvas.width() - kLeft - kRight) / static_cast<double>(chart.series.size());
  double x = kLeft;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Canvas::Type type{17, kBlack, false, Anchor::Left};
    const double width = std::min(canvas.text_width(chart.series[i].name, type) + 1, room - 46);
    canvas.box(x, 62, 16, 16, series_colour(i));
    canvas.text(chart.series[i].name, x + 22, 76, width, type);
    x += 22 + width + 24;
  }
}

Canvas draw(const BarChart& chart) {
  check(chart);
  const double bars = static_cast<double>(chart.series.size());
  const double bar = std::clamp(560.0 / (static_cast<double>(chart.groups.size()) * (bars + 1)), 14.0, 64.0);
  const double pitch = std::max(bar * (bars + 1), 60.0), group_width = bars * bar;
  const auto width = std::max(900, static_cast<int>(kLeft + kRight + static_cast<double>(chart.groups.size()) * pitch));
  Canvas canvas(width, kHeight);
  const Axis y = y_axis(chart);
  const double step = (width - kLeft - kRight) / static_cast<double>(chart.groups.size());

  canvas.title(chart.title, 24, 38, width - 48, 24);
  canvas.vertical_text(chart.y_label, 26, (kTop + kBottom) / 2, kBottom - kTop, {19, kBlack, false, Anchor::Middle});
  draw_legend(canvas, chart);
  for (const double tick : y.ticks) {
    canvas.line(kLeft, y.at(tick), width - kRight, y.at(tick), kLightGray, 1);
    canvas.text(y.label(tick, chart.percent), kLeft - 12, y.at(tick) + 6, kLeft - 40, {17, kGray, false, Anchor::Right});
  }
  for (size_t group = 0; group < chart.groups.size(); ++group) {
    const double middle = kLeft + (static_cast<double>(group) + 0.5) * step;
    for (size_t i = 0; i < chart.series.size(); ++i) {
      const double value = chart.series[i].values[group];
      if (!std::isfinite(value)) continue;
      const double x = middle - group_width / 2 + static_cast<double>(i) * bar;
      const double top = y.at(std::clamp(value, y.low, y.high)), zero = y.at(0);
      canvas.box(x + 1, std::min(top, zero), bar - 2, std::abs(zero - top), series_colour(i));
      const std::string number = chart.percent ? fmt::format("{:.0f}", 100 * value) : fmt::format("{:.3g}", value);
      canvas.text(number, x + bar / 2, std::min(top, zero) - 6, std::max(bar + 8, 30.0),
                  {bar < 26 ? 12.0 : 15.0, kBlack, false, Anchor::Middle});
    }
    canvas.text(chart.groups[group], middle, kBottom + 28, step - 8, {18, kBlack, false, Anchor::Middle});
  }
  canvas.line(kLeft, y.at(0), width - kRight, y.at(0), kGray, 1.5);
  return canvas;
}

}  // namespace

std::string png(const BarChart& chart) { return draw(chart).png(); }
std::string svg(const BarChart& chart) { return draw(chart).svg(); }

}  // namespace taskvec::report
