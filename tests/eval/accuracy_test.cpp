#include "taskvec/eval/accuracy.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace taskvec::eval {
namespace {

TEST(Accuracy, WilsonsIntervalIsThatOfScipy) {
  // scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")
  struct Case {
    Accuracy accuracy;
    double low, high;
  };
  for (const auto& [accuracy, low, high] :
       {Case{{8, 10}, 0.4901624715366418, 0.9433178485456248}, Case{{0, 10}, 0.0, 0.27753279986288926},
        Case{{10, 10}, 0.7224672001371109, 1.0}, Case{{8125, 10000}, 0.8047305461717247, 0.8200294548466025}}) {
    EXPECT_NEAR(accuracy.low(), low, 1e-14) << accuracy.correct << " of " << accuracy.n;
    EXPECT_NEAR(accuracy.high(), high, 1e-14) << accuracy.correct << " of " << accuracy.n;
  }
}

TEST(Accuracy, OfNothingIsNoNumber) {
  EXPECT_TRUE(std::isnan(Accuracy{}.value()));
  EXPECT_EQ(Accuracy{}.low(), 0);
  EXPECT_EQ(Accuracy{}.high(), 1);
}

RC_GTEST_PROP(AccuracyProperty, TheIntervalHoldsTheValueAndShrinks, ()) {
  const int64_t n = *rc::gen::inRange(1, 100'000), correct = *rc::gen::inRange<int64_t>(0, n + 1);
  const Accuracy few{correct, n}, many{10 * correct, 10 * n};
  RC_ASSERT(0 <= few.low() && few.low() <= few.value() && few.value() <= few.high() && few.high() <= 1);
  RC_ASSERT(many.high() - many.low() < few.high() - few.low());
}

}  // namespace
}  // namespace taskvec::eval
