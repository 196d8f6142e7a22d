#pragma once

#include "taskvec/core/files/atomic_file.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace taskvec::report {

/// Pictures for people, as PNG and SVG: large type, colours that stay apart for colour-blind readers, nothing outside the canvas
/// whatever the input (long texts end in an ellipsis). All functions throw
/// Error{InvalidArgument} naming what is empty, of unequal length or too large.

/// Values over a common axis, named at the end of their lines.
struct LinePlot {
  struct Series {
    std::string name;
    std::vector<double> y;  ///< as many as `x`; NaN leaves a gap
  };
  struct Level {
    double y;
    std::string text;
    std::optional<size_t> series;  ///< whose colour it takes; gray without
  };
  std::string title, x_label, y_label;
  std::vector<double> x;         ///< increasing
  std::vector<Series> series;    ///< at most 8
  std::vector<Level> levels;     ///< dashed horizontal lines, e.g. a constraint
  std::optional<double> chosen;  ///< an x that is marked on every series
  bool percent = true;           ///< y are fractions, shown in percent on an axis from 0 to 100
};
std::string png(const LinePlot& plot);  ///< 900 x 560 pixels
std::string svg(const LinePlot& plot);

/// A square matrix with its numbers, e.g. cosines of task vectors. Colours run from `low` (orange) over 0 (white) to `high`
/// (blue).
struct HeatMap {
  std::string title;
  std::vector<std::string> labels;          ///< at most 40
  std::vector<std::vector<double>> matrix;  ///< labels x labels
  double low = -1, high = 1;
  std::string x_label{}, y_label{}, value_label{};      ///< of columns, rows and the colours
  bool numbers = true;                                  ///< in the cells
  std::optional<std::pair<size_t, size_t>> frame = {};  ///< first and last row, and column, of a square that is framed
};
std::string png(const HeatMap& map);
std::string svg(const HeatMap& map);

/// Sample images with what models say to them, in rows.
struct ImageStrip {
  struct Answer {
    std::string text;
    bool right = false;
  };
  struct Tile {
    int64_t height = 0, width = 0, channels = 1;  ///< 1 to 512 pixels a side; 1 or 3 channels
    std::vector<uint8_t> pixels;                  ///< height * width * channels, rows from the top
    std::string truth;
    std::vector<Answer> answers;  ///< one per model
  };
  std::string title;
  std::vector<std::string> models;  ///< at most 4: who gives the answers, in order
  std::vector<Tile> tiles;          ///< at most 200
};
std::string png(const ImageStrip& strip);
std::string svg(const ImageStrip& strip);

/// Groups of bars, e.g. accuracy per task before and after.
struct BarChart {
  struct Series {
    std::string name;
    std::vector<double> values;  ///< one per group; NaN leaves the place empty
  };
  std::string title, y_label;
  std::vector<std::string> groups;  ///< at most 24
  std::vector<Series> series;       ///< at most 8
  bool percent = true;
};
std::string png(const BarChart& chart);
std::string svg(const BarChart& chart);

/// Writes STEM.png and STEM.svg, atomically.
template <typename Plot>
void write_picture(const std::filesystem::path& stem, const Plot& plot) {
  write_file_atomically(stem.string() + ".png", png(plot));
  write_file_atomically(stem.string() + ".svg", svg(plot));
}

}  // namespace taskvec::report
