#include "taskvec/search/grid.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

namespace taskvec::search {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message(std::string_view text) {
  return message_of(ErrorCode::InvalidArgument, [&] { parse_axis(text); });
}

TEST(Axis, RangeHoldsBothEnds) {
  const Axis axis = parse_axis("a=0:1:0.05");
  EXPECT_EQ(axis.name, "a");
  ASSERT_EQ(axis.values.size(), 21U);
  EXPECT_EQ(axis.values[3], 0.15);  // and not 0.15000000000000002
  EXPECT_EQ(axis.values[20], 1.0);
}

TEST(Axis, RangesMayFallAndStopShort) {
  EXPECT_THAT(parse_axis("a=1:0:-0.5").values, ElementsAre(1.0, 0.5, 0.0));
  EXPECT_THAT(parse_axis(" x = 0:1:0.4").values, ElementsAre(0.0, 0.4, 0.8));
  EXPECT_THAT(parse_axis("x=2:2:1").values, ElementsAre(2.0));
}

TEST(Axis, Lists) {
  EXPECT_THAT(parse_axis("t_1=0.3, -1e-3,+2").values, ElementsAre(0.3, -1e-3, 2.0));
  EXPECT_EQ(parse_axis("$a=0.3").name, "a");  // as it stands in the expression
}

TEST(Axis, ErrorsShowTheRightForm) {
  EXPECT_EQ(message("a"), "--grid 'a': no '='; write name=start:stop:step, e.g. a=0:1:0.05, or name=v1,v2, e.g. a=0,0.5,1");
  EXPECT_THAT(message("=1"), HasSubstr("'' is not the name of a coefficient"));
  EXPECT_THAT(message("a-b=1"), HasSubstr("'a-b' is not the name of a coefficient"));
  EXPECT_THAT(message("a="), HasSubstr("'' is not a finite number"));
  EXPECT_THAT(message("a=0:1"), HasSubstr("a range has three parts"));
  EXPECT_THAT(message("a=0:1:0"), HasSubstr("the step is 0"));
  EXPECT_THAT(message("a=0:1:-1"), HasSubstr("the step leads away from the end"));
  EXPECT_THAT(message("a=0:nan:1"), HasSubstr("'nan' is not a finite number"));
  EXPECT_THAT(message("a=0:1e308:1e-308"), HasSubstr("more than 10000 values"));
  EXPECT_THAT(message("a=0:1:0.0001"), HasSubstr("more than 10000 values"));
}

TEST(Grid, LastAxisIsFastest) {
  EXPECT_THAT(grid_points({{"a", {1, 2}}, {"b", {3, 4, 5}}}),
              ElementsAre(ElementsAre(1, 3), ElementsAre(1, 4), ElementsAre(1, 5), ElementsAre(2, 3), ElementsAre(2, 4),
                          ElementsAre(2, 5)));
}

TEST(Grid, RefusesWhatCannotBeSearched) {
  const auto refused = [](const std::vector<Axis>& axes) -> std::string { return message_of([&] { grid_points(axes); }); };
  EXPECT_EQ(refused({}), "nothing to search: give at least one axis, e.g. --grid a=0:1:0.05");
  EXPECT_EQ(refused({{"a", {}}}), "axis 'a' of the grid has no values");
  EXPECT_EQ(refused({{"a", {1}}, {"a", {2}}}), "axis 'a' of the grid is given twice");
  const std::vector<double> many(10'000, 0.5);
  EXPECT_EQ(refused({{"a", many}, {"b", many}, {"c", many}, {"d", many}, {"e", many}}),
            "the grid has 10000 x 10000 x 10000 x 10000 x 10000 points, more than 100000: take larger steps or fewer axes");
  EXPECT_EQ(grid_points({{"a", many}, {"b", std::vector<double>(10, 0.0)}}).size(), 100'000U);
}

RC_GTEST_PROP(AxisProperty, RangeStaysInsideAndIsEvenlySpaced, ()) {
  const auto count = *rc::gen::inRange(1, 200);
  const double step = *rc::gen::element(0.05, 0.1, 0.025, 0.01, 1.0);
  const double start = *rc::gen::inRange(-3, 3);
  const double stop = start + step * count;
  const Axis axis = parse_axis("a=" + std::to_string(start) + ":" + std::to_string(stop) + ":" + std::to_string(step));
  RC_ASSERT(axis.values.size() == static_cast<size_t>(count) + 1);
  for (size_t i = 1; i < axis.values.size(); ++i) RC_ASSERT(std::abs(axis.values[i] - axis.values[i - 1] - step) < 1e-9);
  RC_ASSERT(std::abs(axis.values.back() - stop) < 1e-9);
}

}  // namespace
}  // namespace taskvec::search
