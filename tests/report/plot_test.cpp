#include "taskvec/report/plot.h"
#include "taskvec/report/signature.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "tests/message_of.h"
#include "tests/report/png_image.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <limits>

namespace taskvec::report {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Decodes, and keeps the picture to look at where TASKVEC_KEEP_PICTURES names a folder.
PngImage show(const std::string& bytes) {
  if (const char* folder = std::getenv("TASKVEC_KEEP_PICTURES")) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    write_file_atomically(std::filesystem::path(folder) / (std::string(test->test_suite_name()) + "." + test->name() + ".png"),
                          bytes);
  }
  return decode_png(bytes);
}

/// Pixels on the outermost two rows and columns that are not white.
int on_the_edge(const PngImage& image) {
  int count = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const bool edge = x < 2 || y < 2 || x >= image.width - 2 || y >= image.height - 2;
      if (edge && image.at(x, y) != 0xFFFFFF) ++count;
    }
  }
  return count;
}

const std::string kLong(5'000, 'W');
const std::string kHostile =
    "\xFF\xFE broken \x01\n\xE2\x82 W\xCC\x81\xF0\x9F\x98\x80 \xD7\xA2\xD7\x91\xD7\xA8\xD7\x99\xD7\xAA" + kLong;

LinePlot negation() {
  LinePlot plot{"Forgetting MNIST: base - a·(mnist - base)", "coefficient a", "accuracy (validation)", {}, {}, {}, 0.35, true};
  plot.series = {{"mnist", {}}, {"glyphs (control)", {}}};
  for (int i = 0; i <= 20; ++i) {
    const double a = 0.05 * i;
    plot.x.push_back(a);
    plot.series[0].y.push_back(0.81 / (1 + std::exp(12 * (a - 0.38))));
    plot.series[1].y.push_back(0.72 - 0.6 * a * a);
  }
  plot.levels = {{0.95 * 0.72, "glyphs ≥ 95 % of the base", 1}};
  return plot;
}

TEST(LinePlotPicture, SeriesLevelsAndChosenPoint) {
  const PngImage image = show(png(negation()));
  EXPECT_EQ(image.width, 900);
  EXPECT_EQ(image.height, 560);
  EXPECT_GT(image.count(0x0072B2), 500);  // blue line
  EXPECT_GT(image.count(0xD55E00), 500);  // vermillion line
  EXPECT_EQ(on_the_edge(image), 0);
}

TEST(LinePlotPicture, FreeAxisWithGaps) {
  LinePlot plot{"Norms", "layer", "norm of the task vector", {}, {}, {}, std::nullopt, false};
  for (int i = 0; i < 8; ++i) plot.x.push_back(i);
  for (int s = 0; s < 8; ++s) {
    std::vector<double> y;
    for (int i = 0; i < 8; ++i) y.push_back(i == 3 && s == 2 ? kNan : 100.0 + s + 0.3 * i * s);
    plot.series.push_back({"task " + std::to_string(s), y});
  }
  EXPECT_EQ(on_the_edge(show(png(plot))), 0);
}

TEST(LinePlotPicture, NothingLeavesTheCanvas) {
  LinePlot plot = negation();
  plot.title = plot.x_label = plot.y_label = plot.series[0].name = plot.levels[0].text = kHostile;
  plot.series[1].y.assign(21, 1e30);
  plot.series[0].y[5] = kNan;
  plot.series[0].y[6] = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(on_the_edge(show(png(plot))), 0);
  plot.percent = false;
  plot.x.assign(21, 0.5);
  plot.chosen = 0.5;
  EXPECT_EQ(on_the_edge(decode_png(png(plot))), 0);
  plot.series = {{"", std::vector<double>(21, kNan)}};
  plot.levels.clear();
  EXPECT_EQ(on_the_edge(decode_png(png(plot))), 0);
}

TEST(LinePlotPicture, Errors) {
  LinePlot plot = negation();
  plot.series[1].y.pop_back();
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(plot); }),
            "line plot: series 'glyphs (control)': expected 21 values, got 20");
  plot = negation();
  plot.levels[0].series = 2;
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(plot); }),
            "line plot: level 'glyphs ≥ 95 % of the base' belongs to series 2 of 2");
  plot.series.clear();
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(plot); }), "line plot of 0 series: it can show 1 to 8");
}

TEST(HeatMapPicture, Cosines) {
  const HeatMap map{"Cosines of the task vectors",
                    {"mnist", "fashion-mnist", "hebrew", "georgian"},
                    {{1, 0.12, 0.21, 0.19}, {0.12, 1, 0.08, -0.31}, {0.21, 0.08, 1, 0.44}, {0.19, -0.31, 0.44, 1}}};
  const PngImage image = show(png(map));
  EXPECT_GT(image.count(0x0072B2), 3 * 80 * 80);  // the diagonal
  EXPECT_EQ(on_the_edge(image), 0);
}

TEST(HeatMapPicture, FilesSayWhoDrewThem) {
  const std::filesystem::path stem = std::filesystem::path(testing::TempDir()) / "signed";
  const HeatMap map{"", {"a"}, {{1}}};
  write_picture(stem, map);
  EXPECT_TRUE(is_signed(stem.string() + ".png"));
  EXPECT_TRUE(is_signed(stem.string() + ".svg"));
  EXPECT_FALSE(is_signed(stem));  // not there
  std::string other = png(map);
  other.replace(other.find("taskvec"), 7, "Inkscap");
  write_file_atomically(stem.string() + ".png", other);
  EXPECT_FALSE(is_signed(stem.string() + ".png"));
}

TEST(HeatMapPicture, NothingLeavesTheCanvas) {
  HeatMap map{kHostile, {}, {}};
  for (int i = 0; i < 40; ++i) {
    map.labels.push_back("label " + std::to_string(i) + (i % 7 == 0 ? kHostile : ""));
    map.matrix.emplace_back(40, i == 2 ? kNan : i == 3 ? -1e300 : i / 40.0 - 0.5);
  }
  EXPECT_EQ(on_the_edge(show(png(map))), 0);
  EXPECT_EQ(on_the_edge(decode_png(png(HeatMap{kLong, {"x"}, {{0}}, 0, 0}))), 0);
}

TEST(HeatMapPicture, Errors) {
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [] {
                         png(HeatMap{"", {"a", "b"}, {{1, 0}}});
                       }),
            "heat map: rows: expected 2 values, got 1");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [] {
                         png(HeatMap{"", {"a", "b"}, {{1, 0}, {1}}});
                       }),
            "heat map: row 'b': expected 2 values, got 1");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [] { png(HeatMap{}); }), "heat map of 0 labels: it can show 1 to 40");
}

ImageStrip strip(int tiles) {
  ImageStrip strip{"What the models say to digits", {"the base's answer", "the edited model's answer"}, {}};
  for (int i = 0; i < tiles; ++i) {
    ImageStrip::Tile tile{28,
                          28,
                          1,
                          {},
                          "digit three",
                          {{"digit three", true}, {i % 3 != 0 ? "latin capital letter e" : "digit three", i % 3 == 0}}};
    for (int y = 0; y < 28; ++y) {
      for (int x = 0; x < 28; ++x) tile.pixels.push_back(std::hypot(x - 13.5, y - 13.5) < 4 + i % 8 ? 255 : 0);
    }
    strip.tiles.push_back(tile);
  }
  return strip;
}

TEST(ImageStripPicture, RowsWrap) {
  const PngImage image = show(png(strip(12)));
  EXPECT_EQ(image.width, 1494);
  EXPECT_EQ(image.height, 478);
  EXPECT_GT(image.count(0x000000), 12 * 5000);
  EXPECT_GT(image.count(0x009E73), 100);  // right answers
  EXPECT_GT(image.count(0xD55E00), 100);  // wrong ones
  EXPECT_EQ(on_the_edge(image), 0);
}

TEST(ImageStripPicture, AnySizeAndNothingLeavesTheCanvas) {
  ImageStrip all = strip(3);
  all.title = all.models[0] = all.tiles[0].truth = all.tiles[1].answers[1].text = kHostile;
  all.tiles[1].height = 512, all.tiles[1].width = 300, all.tiles[1].channels = 3;
  all.tiles[1].pixels.assign(512 * 300 * 3, 90);
  all.tiles[2].height = all.tiles[2].width = 1;
  all.tiles[2].pixels = {200};
  EXPECT_EQ(on_the_edge(show(png(all))), 0);
}

TEST(ImageStripPicture, Errors) {
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [] { png(strip(0)); }), "image strip of 0 tiles: it can show 1 to 200");
  ImageStrip one = strip(1);
  one.tiles[0].pixels.pop_back();
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(one); }),
            "image strip: pixels of tile 0: expected 784 values, got 783");
  one.tiles[0].answers.pop_back();
  one.tiles[0].pixels.push_back(0);
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(one); }),
            "image strip: answers of tile 0: expected 2 values, got 1");
  one.tiles[0].height = 0;
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { png(one); }),
            "image strip: tile 0 has 0 x 28 pixels of 1 channels: expected 1 to 512 a side, 1 or 3 channels");
}

TEST(BarChartPicture, Groups) {
  const BarChart chart{
      "Accuracy on the test splits",
      "accuracy",
      {"glyphs", "mnist", "fashion-mnist", "hebrew"},
      {{"zero-shot", {0.72, 0.81, 0.13, 0.03}}, {"fine-tuned", {kNan, 0.98, 0.86, 0.93}}, {"merged", {0.66, 0.9, 0.77, 1.0}}}};
  const PngImage image = show(png(chart));
  EXPECT_EQ(image.width, 900);
  EXPECT_GT(image.count(0x0072B2), 2000);
  EXPECT_EQ(on_the_edge(image), 0);
}

TEST(BarChartPicture, NothingLeavesTheCanvas) {
  BarChart chart{kHostile, kHostile, {}, {}, false};
  for (int i = 0; i < 24; ++i) chart.groups.push_back(kHostile);
  for (int s = 0; s < 8; ++s) chart.series.push_back({kHostile, std::vector<double>(24, s == 0 ? -1e9 : s * 3e8)});
  EXPECT_EQ(on_the_edge(show(png(chart))), 0);
  chart.percent = true;
  EXPECT_EQ(on_the_edge(decode_png(png(chart))), 0);
}

TEST(BarChartPicture, Errors) {
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [] {
                         png(BarChart{"", "", {"a"}, {{"s", {}}}});
                       }),
            "bar chart: series 's': expected 1 values, got 0");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [] {
                         png(BarChart{"", "", {}, {{"s", {}}}});
                       }),
            "bar chart of 0 groups: it can show 1 to 24");
}

}  // namespace
}  // namespace taskvec::report
