#include "taskvec/search/goal.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace taskvec::search {
namespace {

using ::testing::ElementsAre;

const Metrics kMetrics{{"fashion-mnist", 0.5}, {"glyphs", 0.7}, {"mnist", 0.8}};

TEST(Goal, NamesAndMeans) {
  EXPECT_THAT(parse_goal("fashion-mnist", true).metrics, ElementsAre("fashion-mnist"));
  EXPECT_DOUBLE_EQ(parse_goal("fashion-mnist", true).value(kMetrics), 0.5);
  const Goal mean = parse_goal(" mean ( mnist ,fashion-mnist) ", false);
  EXPECT_THAT(mean.metrics, ElementsAre("mnist", "fashion-mnist"));
  EXPECT_DOUBLE_EQ(mean.value(kMetrics), 0.65);
  EXPECT_EQ(mean.text(), "minimize mean(mnist, fashion-mnist)");
  EXPECT_TRUE(parse_goal("mnist", true).maximize);
  EXPECT_THAT(parse_goal("mean", true).metrics, ElementsAre("mean"));  // a task may be called so
}

TEST(Goal, NanAndInfinityAreNotAValue) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_TRUE(std::isnan(parse_goal("mean(a, b)", true).value({{"a", 1}, {"b", bad}})));
  }
}

TEST(Goal, Errors) {
  for (const char* text : {"", "mean()", "mean(a,)", "max(a, b)", "a b", "mean a)", "a >= 1", ")", "mean("}) {
    EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { parse_goal(text, false); }),
              "--minimize '" + std::string(text) +
                  "': write the name of a metric or mean(...) of several, e.g. mnist or "
                  "mean(mnist, glyphs)")
        << text;
  }
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [] { parse_goal("mnit", true).value(kMetrics); }),
            "unknown metric 'mnit' in maximize mnit: measured are fashion-mnist, glyphs, mnist; did you mean 'mnist'?");
}

TEST(Constraint, FormsAndTheirBounds) {
  struct Case {
    const char* text;
    const char* canonical;
    bool at_least;
    double bound;
  };
  const Metrics base{{"fashion-mnist", 0.4}, {"glyphs", 0.8}};
  for (const Case& c :
       {Case{"glyphs >= 0.95*base", "glyphs >= 0.95*base", true, 0.76},
        Case{"glyphs>=base * 0.5", "glyphs >= 0.5*base", true, 0.4}, Case{"glyphs >= base", "glyphs >= 1*base", true, 0.8},
        Case{"fashion-mnist <= 0.6", "fashion-mnist <= 0.6", false, 0.6},
        Case{"\tfashion-mnist<=-1e-3 ", "fashion-mnist <= -0.001", false, -1e-3}}) {
    const Constraint constraint = parse_constraint(c.text);
    EXPECT_EQ(constraint.text, c.canonical);
    EXPECT_EQ(constraint.at_least, c.at_least);
    EXPECT_DOUBLE_EQ(constraint.bound(base), c.bound) << c.text;
    EXPECT_EQ(parse_constraint(constraint.text).text, constraint.text);
  }
}

TEST(Constraint, Violation) {
  const Metrics base{{"glyphs", 0.8}};
  const Constraint keep = parse_constraint("glyphs >= 0.5*base"), limit = parse_constraint("glyphs <= 0.6");
  EXPECT_EQ(keep.violation({{"glyphs", 0.4}}, base), 0);
  EXPECT_DOUBLE_EQ(keep.violation({{"glyphs", 0.3}}, base), 0.1);
  EXPECT_EQ(limit.violation({{"glyphs", 0.6}}, base), 0);
  EXPECT_DOUBLE_EQ(limit.violation({{"glyphs", 0.85}}, base), 0.25);
  EXPECT_TRUE(std::isinf(limit.violation({{"glyphs", std::nan("")}}, base)));
  EXPECT_TRUE(std::isinf(keep.violation({{"glyphs", 1}}, {{"glyphs", std::nan("")}})));
}

TEST(Constraint, Errors) {
  for (const char* text : {"", "glyphs", "glyphs > 0.5", "glyphs >=", ">= 1", "glyphs >= x*base", "glyphs >= 0.95*bse",
                           "glyphs == 1", "glyphs >= nan", "glyphs >= 2*3", "a b >= 1"}) {
    EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [&] { parse_constraint(text); }),
              "--subject-to '" + std::string(text) +
                  "': write METRIC >= NUMBER, METRIC >= FACTOR*base, or the same with <=, e.g. 'glyphs >= 0.95*base'")
        << text;
  }
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument, [] { parse_constraint("glyps >= 0.5").violation(kMetrics, {}); }),
            "unknown metric 'glyps' in the constraint 'glyps >= 0.5': measured are fashion-mnist, glyphs, mnist; did you mean "
            "'glyphs'?");
  EXPECT_EQ(message_of(ErrorCode::InvalidArgument,
                       [] {
                         parse_constraint("glyphs >= base").violation(kMetrics, {{"mnist", 1.0}});
                       }),
            "unknown metric 'glyphs' in the base of 'glyphs >= 1*base': measured are mnist");
}

}  // namespace
}  // namespace taskvec::search
