#include "taskvec/report/axis.h"
#include "taskvec/report/canvas.h"
#include "taskvec/report/check_plot.h"
#include "taskvec/report/plot.h"

#include <algorithm>
#include <cmath>

namespace taskvec::report {
namespace {

using namespace colours;

constexpr int kWidth = 900, kHeight = 560;
constexpr double kLeft = 96, kTop = 84, kBottom = 478, kLabelGap = 16, kMostLabel = 220;

void check(const LinePlot& plot) {
  check_count(plot.x.size(), 10'000, "line plot", "points");
  check_count(plot.series.size(), 8, "line plot", "series");
  for (const auto& series : plot.series)
    check_length(series.y.size(), plot.x.size(), "line plot", "series '" + series.name + "'");
  for (const auto& level : plot.levels) {
    if (level.series && *level.series >= plot.series.size()) {
      fail(ErrorCode::InvalidArgument, "line plot: level '{}' belongs to series {} of {}", level.text, *level.series,
           plot.series.size());
    }
  }
}

Axis y_axis(const LinePlot& plot) {
  if (plot.percent) return percent_axis(kBottom, kTop);
  std::vector<double> values;
  for (const auto& series : plot.series) values.insert(values.end(), series.y.begin(), series.y.end());
  for (const auto& level : plot.levels) values.push_back(level.y);
  return make_axis(values, kBottom, kTop, 5, true);
}

void draw_frame(const Canvas& canvas, const LinePlot& plot, const Axis& x, const Axis& y) {
  canvas.title(plot.title, 24, 38, kWidth - 48, 24);
  for (const double tick : y.ticks) {
    canvas.line(x.start, y.at(tick), x.end, y.at(tick), kLightGray, 1);
    canvas.text(y.label(tick, plot.percent), x.start - 12, y.at(tick) + 6, kLeft - 40, {17, kGray, false, Anchor::Right});
  }
  canvas.line(x.start, kBottom, x.end, kBottom, kGray, 1.5);
  for (const double tick : x.ticks) {
    canvas.line(x.at(tick), kBottom, x.at(tick), kBottom + 6, kGray, 1.5);
    canvas.text(x.label(tick, false), x.at(tick), kBottom + 27, 90, {17, kGray, false, Anchor::Middle});
  }
  canvas.text(plot.x_label, (x.start + x.end) / 2, kHeight - 20, x.end - x.start, {19, kBlack, false, Anchor::Middle});
  canvas.vertical_text(plot.y_label, 26, (kTop + kBottom) / 2, kBottom - kTop, {19, kBlack, false, Anchor::Middle});
}

void draw_levels(const Canvas& canvas, const LinePlot& plot, const Axis& x, const Axis& y) {
  for (const auto& level : plot.levels) {
    if (!(level.y >= y.low && level.y <= y.high)) continue;
    const Colour colour = level.series ? series_colour(*level.series) : kGray;
    canvas.line(x.start, y.at(level.y), x.end, y.at(level.y), colour, 2, /*dashed=*/true);
    const Canvas::Type type{16, colour, false, Anchor::Right};
    const double width = std::min(canvas.text_width(level.text, type), x.end - x.start - 16);
    const double base = y.at(level.y) - 7 > kTop + 16 ? y.at(level.y) - 7 : y.at(level.y) + 19;
    canvas.box(x.end - 10 - width, base - 15, width + 4, 19, kWhite);
    canvas.text(level.text, x.end - 8, base, width + 1, type);
  }
}

void draw_chosen(const Canvas& canvas, const LinePlot& plot, const Axis& x) {
  if (!plot.chosen || !(*plot.chosen >= x.low && *plot.chosen <= x.high)) return;
  const double at = x.at(*plot.chosen);
  canvas.line(at, kTop - 4, at, kBottom, kBlack, 1.5);
  const std::string text = "chosen: " + x.label(*plot.chosen, false);
  const Canvas::Type type{16, kBlack, true, Anchor::Middle};
  const double half = canvas.text_width(text, type) / 2;
  canvas.text(text, std::clamp(at, x.start + half, x.end - half), kTop - 11, 2 * half + 1, type);
}

void draw_series(const Canvas& canvas, const LinePlot& plot, size_t index, const Axis& x, const Axis& y) {
  const auto& values = plot.series[index].y;
  const Colour colour = series_colour(index);
  for (size_t i = 1; i < values.size(); ++i) {
    if (!std::isfinite(values[i - 1]) || !std::isfinite(values[i])) continue;
    canvas.line(x.at(plot.x[i - 1]), y.at(values[i - 1]), x.at(plot.x[i]), y.at(values[i]), colour, 3);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    const bool chosen = plot.chosen && std::abs(plot.x[i] - *plot.chosen) <= 1e-9 * (x.high - x.low);
    if (chosen || values.size() <= 60) canvas.marker(index, x.at(plot.x[i]), y.at(values[i]), chosen ? 10 : 5, colour);
  }
}

/// Names at the end of the lines, pushed apart where lines end close together.
void draw_names(const Canvas& canvas, const LinePlot& plot, const Axis& x, const Axis& y, double width) {
  struct Name {
    size_t series;
    double at;
  };
  constexpr double kApart = 24;
  std::vector<Name> names;
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const auto& values = plot.series[i].y;
    const auto last = std::find_if(values.rbegin(), values.rend(), [](double v) { return std::isfinite(v); });
    names.push_back({i, last == values.rend() ? kBottom : std::clamp(y.at(*last), kTop, kBottom)});
  }
  std::stable_sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.at < b.at; });
  for (size_t i = 1; i < names.size(); ++i) names[i].at = std::max(names[i].at, names[i - 1].at + kApart);
  names.back().at = std::min(names.back().at, kBottom);
  for (size_t i = names.size() - 1; i-- > 0;) names[i].at = std::min(names[i].at, names[i + 1].at - kApart);
  for (const auto& [series, at] : names) {
    canvas.marker(series, x.end + kLabelGap + 6, at, 6, series_colour(series));
    canvas.text(plot.series[series].name, x.end + kLabelGap + 18, at + 6, width, {18, series_colour(series), true, Anchor::Left});
  }
}

Canvas draw(const LinePlot& plot) {
  check(plot);
  Canvas canvas(kWidth, kHeight);
  double names = 0;
  for (const auto& series : plot.series) {
    names = std::max(names, canvas.text_width(series.name, {18, kBlack, true, Anchor::Left}));
  }
  names = std::min(names + 1, kMostLabel);
  const Axis x = make_axis(plot.x, kLeft, kWidth - names - kLabelGap - 18 - 16, 10, false), y = y_axis(plot);

  draw_frame(canvas, plot, x, y);
  draw_levels(canvas, plot, x, y);
  draw_chosen(canvas, plot, x);
  // Values outside the axis (percentages over 100, say) stay outside the picture.
  cairo_save(canvas.context());
  cairo_rectangle(canvas.context(), x.start - 12, kTop - 12, x.end - x.start + 24, kBottom - kTop + 24);
  cairo_clip(canvas.context());
  for (size_t i = 0; i < plot.series.size(); ++i) draw_series(canvas, plot, i, x, y);
  cairo_restore(canvas.context());
  draw_names(canvas, plot, x, y, names);
  return canvas;
}

}  // namespace

std::string png(const LinePlot& plot) { return draw(plot).png(); }
std::string svg(const LinePlot& plot) { return draw(plot).svg(); }

}  // namespace taskvec::report
