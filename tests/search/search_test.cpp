#include "taskvec/search/search.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>

namespace taskvec::search {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

/// A target that falls and a control that falls later, over one coefficient: what negation looks like.
Metrics negation(std::span<const double> a) { return {{"target", 0.8 - 0.7 * a[0]}, {"control", 0.7 - 0.5 * a[0] * a[0]}}; }

SearchOptions negation_search() {
  SearchOptions options;
  options.axes = {parse_axis("a=0:1:0.1")};
  options.goal = parse_goal("target", false);
  options.constraints = {parse_constraint("control >= 0.9*base")};
  options.reference = {{"control", 0.7}};
  return options;
}

struct Folder {
  Folder() {
    std::string name = fs::temp_directory_path() / "taskvec-search-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

TEST(GridSearch, TakesTheBestThatSatisfiesTheConstraints) {
  const SearchResult result = grid_search(negation_search(), negation);
  ASSERT_TRUE(result.best);
  EXPECT_EQ(result.trials.size(), 11U);
  EXPECT_THAT(result.trials[*result.best].coefficients, ElementsAre(0.3));  // at 0.4 the control is at 0.62 of 0.63
  EXPECT_EQ(result.nearest, *result.best);
}

TEST(GridSearch, ManyAxes) {
  SearchOptions options;
  options.axes = {parse_axis("a=0:1:0.25"), parse_axis("b=0:1:0.25")};
  options.goal = parse_goal("mean(x, y)", true);
  const auto result = grid_search(options, [](std::span<const double> p) -> Metrics {
    return {{"x", 1 - std::abs(p[0] - 0.25)}, {"y", 1 - std::abs(p[1] - 0.75)}};
  });
  EXPECT_THAT(result.trials[result.best.value()].coefficients, ElementsAre(0.25, 0.75));
}

TEST(GridSearch, EquallyGoodPointsGoToTheLast) {
  SearchOptions options;
  options.axes = {parse_axis("a=0:1:0.25")};
  options.goal = parse_goal("m", true);
  const auto plateau = [](std::span<const double> p) -> Metrics { return {{"m", p[0] > 0.8 ? 0.1 : 0.5}}; };
  EXPECT_EQ(grid_search(options, plateau).best, 3U);
}

TEST(GridSearch, NothingFeasibleGivesTheNearest) {
  SearchOptions options = negation_search();
  options.constraints = {parse_constraint("control >= 0.9"), parse_constraint("target <= 0.75")};
  const SearchResult result = grid_search(options, negation);
  EXPECT_FALSE(result.best);
  EXPECT_THAT(result.trials[result.nearest].coefficients, ElementsAre(0.1));
  EXPECT_NEAR(result.trials[result.nearest].violation, 0.205, 1e-12);
}

TEST(GridSearch, NanIsNeverChosen) {
  SearchOptions options;
  options.axes = {parse_axis("a=0,1,2")};
  options.goal = parse_goal("m", true);
  const double nan = std::nan("");
  const auto at = [&](double a, double b, double c) {
    return grid_search(options, [=](std::span<const double> p) -> Metrics { return {{"m", p[0] == 0 ? a : p[0] == 1 ? b : c}}; });
  };
  EXPECT_EQ(at(nan, 0.2, nan).best, 1U);
  EXPECT_EQ(at(0.2, nan, 0.1).best, 0U);
  EXPECT_FALSE(at(nan, nan, nan).best);
  options.constraints = {parse_constraint("m >= 0.5")};
  EXPECT_FALSE(at(nan, 0.2, nan).best);
  EXPECT_EQ(at(nan, 0.2, nan).nearest, 1U);
}

TEST(GridSearch, UnknownMetricsAreFoundAtTheFirstPoint) {
  Folder folder;
  SearchOptions options = negation_search();
  options.goal = parse_goal("targt", false);
  options.log = folder.path / "trials.jsonl";
  int calls = 0;
  const auto counted = [&](std::span<const double> p) { return ++calls, negation(p); };
  EXPECT_EQ(message_of([&] { grid_search(options, counted); }),
            "unknown metric 'targt' in minimize targt: measured are control, target; did you mean 'target'?");
  EXPECT_EQ(calls, 1);
}

TEST(TrialLog, ResumesWithoutMeasuringAgain) {
  Folder folder;
  SearchOptions options = negation_search();
  options.log = folder.path / "trials.jsonl";
  options.measured = {{"sources", {{"ft", "k1"}}}};
  int calls = 0;
  const auto killed = [&](std::span<const double> p) {
    if (++calls == 5) throw std::runtime_error("killed");
    return negation(p);
  };
  EXPECT_THROW(grid_search(options, killed), std::runtime_error);
  std::ofstream(options.log, std::ios::app) << R"({"coefficients":{"a":0.4},"metr)";  // half a line

  calls = 100;
  const SearchResult resumed = grid_search(options, killed), again = grid_search(options, killed);
  EXPECT_EQ(calls, 107);
  EXPECT_EQ(resumed.resumed, 4U);
  EXPECT_EQ(again.resumed, 11U);
  const SearchResult whole = grid_search(negation_search(), negation);
  EXPECT_EQ(resumed.best, whole.best);
  for (size_t i = 0; i < whole.trials.size(); ++i) {
    EXPECT_EQ(again.trials[i].metrics, whole.trials[i].metrics);
    EXPECT_EQ(again.trials[i].objective, whole.trials[i].objective);
  }
  const std::string text = read_file(options.log);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 12);
  EXPECT_THAT(text, testing::StartsWith("{\"format\":2,\"measured\":{\"sources\":{\"ft\":\"k1\"}}}\n{\"coefficients\":{\"a\":0.0}"
                                        ",\"metrics\":{\"control\":0.7,"));
}

TEST(TrialLog, KeepsNan) {
  Folder folder;
  SearchOptions options = negation_search();
  options.constraints.clear();
  options.log = folder.path / "trials.jsonl";
  const auto nan = [](std::span<const double>) -> Metrics { return {{"target", std::nan("")}}; };
  grid_search(options, nan);
  const SearchResult again = grid_search(options, negation);
  EXPECT_EQ(again.resumed, 11U);
  EXPECT_FALSE(again.best);
}

TEST(TrialLog, AnotherGridAndGoalGoOnWithTheSameLog) {
  Folder folder;
  SearchOptions options = negation_search();
  options.log = folder.path / "trials.jsonl";
  grid_search(options, negation);
  options.axes = {parse_axis("a=0:1:0.05")};
  options.goal = parse_goal("control", true);
  EXPECT_EQ(grid_search(options, negation).resumed, 11U);
  options.axes = {parse_axis("b=0:1:0.05")};
  EXPECT_EQ(grid_search(options, negation).resumed, 0U);
}

TEST(TrialLog, Errors) {
  Folder folder;
  SearchOptions options = negation_search();
  options.log = folder.path / "trials.jsonl";
  options.measured = {{"sources", {{"ft", "k1"}}}};
  grid_search(options, negation);
  options.measured = {{"sources", {{"ft", "k2"}}}};
  EXPECT_EQ(
      message_of([&] { grid_search(options, negation); }),
      options.log.string() +
          ": holds the trials of another search, with sources.ft \"k1\" instead of \"k2\"; give another -o folder, or delete "
          "the file to start anew");
  options.measured = {{"sources", {{"ft", "k1"}}}};
  std::ofstream(options.log, std::ios::app) << "[1, 2\n";
  EXPECT_THAT(message_of([&] { grid_search(options, negation); }),
              HasSubstr("trials.jsonl: line 13 is not a trial of a search: "));
  std::ofstream(options.log) << "[1, 2]\n";
  EXPECT_THAT(message_of([&] { grid_search(options, negation); }),
              HasSubstr("trials.jsonl: line 1 is not a trial of a search: "));
  options.log = folder.path / "none" / "trials.jsonl";
  EXPECT_THAT(message_of([&] { grid_search(options, negation); }),
              HasSubstr(options.log.string() + ": cannot be opened for writing: No such file or directory"));
  options.log = folder.path / "trials.jsonl";
  for (const char* line :
       {R"({"coefficients":{"a":0},"metrics":{"m":-5},"seconds":1})", R"({"coefficients":{"a":"x"},"metrics":{},"seconds":1})",
        R"({"coefficients":{"a":0},"metrics":{"m":2},"seconds":1})", R"({"metrics":{},"seconds":1})",
        R"({"coefficients":{"a":0},"metrics":{"m":0},"seconds":-1})"}) {
    std::ofstream(options.log) << "{\"format\":2,\"measured\":{\"sources\":{\"ft\":\"k1\"}}}\n" << line << "\n";
    EXPECT_THAT(message_of([&] { grid_search(options, negation); }),
                HasSubstr("trials.jsonl: line 2 is not a trial of a search: "))
        << line;
  }
  // What is no half of a line of ours is left as it is.
  for (const char* text :
       {"my notes in one line", "{\"format\":2,\"measured\":{\"sources\":{\"ft\":\"k1\"}}}\nmy notes", "{\"precious\":1}"}) {
    std::ofstream(options.log) << text;
    EXPECT_THAT(message_of([&] { grid_search(options, negation); }), HasSubstr("ends without a line end")) << text;
    std::ifstream file(options.log);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
  }
}

RC_GTEST_PROP(GridSearchProperty, BestIsFeasibleAndNoneIsBetter, (const std::vector<std::pair<uint8_t, uint8_t>>& values)) {
  RC_PRE(!values.empty());
  SearchOptions options;
  options.axes = {{"a", {}}};
  for (size_t i = 0; i < values.size(); ++i) options.axes[0].values.push_back(static_cast<double>(i));
  options.goal = parse_goal("m", true);
  options.constraints = {parse_constraint("c <= 100")};
  const auto result = grid_search(options, [&](std::span<const double> p) -> Metrics {
    const auto& [m, c] = values[static_cast<size_t>(p[0])];
    return {{"m", m}, {"c", c}};
  });
  const auto feasible = [&](size_t i) { return values[i].second <= 100; };
  for (size_t i = 0; i < values.size(); ++i) {
    if (result.best) {
      RC_ASSERT(feasible(*result.best));
      RC_ASSERT(!feasible(i) || values[i].first <= values[*result.best].first);
    } else {
      RC_ASSERT(!feasible(i) && values[i].second >= values[result.nearest].second);
    }
  }
}

}  // namespace
}  // namespace taskvec::search
