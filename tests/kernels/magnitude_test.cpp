#include "taskvec/core/random.h"
#include "taskvec/kernels/count_magnitudes.h"
#include "taskvec/kernels/elect.h"
#include "taskvec/kernels/kth_magnitude.h"
#include "taskvec/kernels/simd.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace taskvec::kernels {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value) & kMagnitudeBits; }

/// Passes over `values` in parts of several sizes, of which a sample sees every third. @return passes
int find(KthMagnitude& kth, const std::vector<float>& values) {
  int passes = 0;
  for (; !kth.known(); ++passes) {
    auto one = kth.no_counts(), other = kth.no_counts();
    for (size_t begin = 0, part = 0; begin < values.size(); ++part) {
      const size_t n = std::min<size_t>(values.size() - begin, 1000 + 777 * (part % 5));
      if (!kth.samples() || part % 3 == 0) kth.count(std::span(values).subspan(begin, n), part % 2 == 0 ? one : other);
      begin += n;
    }
    kth.take(one);
    kth.take(other);
    kth.end_pass();
  }
  return passes;
}

void expect_kth(const std::vector<float>& values, int64_t k) {
  std::vector<uint32_t> sorted;
  for (const float value : values) sorted.push_back(bits_of(value));
  std::ranges::sort(sorted, std::greater());
  KthMagnitude kth(static_cast<int64_t>(values.size()), k);
  find(kth, values);
  const uint32_t wanted = sorted[static_cast<size_t>(k - 1)];
  EXPECT_EQ(kth.bits(), wanted) << k;
  EXPECT_EQ(kth.equal(), std::ranges::count(sorted, wanted));
  EXPECT_EQ(kth.equal_wanted(), k - (std::ranges::find(sorted, wanted) - sorted.begin()));
}

class OnEverySimdLevel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_simd_level(GetParam()); }
  void TearDown() override { set_simd_level(""); }
};
INSTANTIATE_TEST_SUITE_P(Levels, OnEverySimdLevel, testing::ValuesIn(simd_levels()),
                         [](const auto& level) { return level.param; });

TEST_P(OnEverySimdLevel, TheKthMagnitudeIsThatOfSorting) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  expect_kth({3}, 1);
  for (int64_t k = 1; k <= 8; ++k) expect_kth({-0.0F, 1e-40F, -2, 2, nan, -infinity, 0.5F, 2}, k);
}

TEST_P(OnEverySimdLevel, OneLookAndOnePassSufficeForManyValues) {
  constexpr size_t kMany = (size_t{1} << 20) + 12'345;
  std::vector<float> values(kMany);
  const Philox random(1, 0);
  for (size_t i = 0; i < kMany; ++i) {
    const double u = (static_cast<double>(random.below(i, 1 << 30)) + 0.5) / (1 << 30);
    values[i] = static_cast<float>((i % 2 == 0 ? 1 : -1) * std::log(u));
  }
  for (const int64_t k : {int64_t{1}, int64_t{209'715}, int64_t{kMany / 2}, int64_t{kMany}}) expect_kth(values, k);
  KthMagnitude kth(kMany, kMany / 5);
  EXPECT_EQ(find(kth, values), 2);
}

TEST_P(OnEverySimdLevel, WhereTheSampleMisleadsTheResultIsTheSame) {
  // Every third part, which is what the sample sees, holds small values only; and nearly all values are equal.
  std::vector<float> values((size_t{1} << 20) + 99, 1);
  for (size_t begin = 0, part = 0; begin < values.size(); ++part) {
    const size_t n = std::min<size_t>(values.size() - begin, 1000 + 777 * (part % 5));
    for (size_t i = begin; i < begin + n && part % 3 != 0; ++i) values[i] = static_cast<float>(2 + i % 7);
    begin += n;
  }
  for (const int64_t k : {5, 100'000, 600'000, 1'000'000}) expect_kth(values, k);
  expect_kth(std::vector<float>((size_t{1} << 20) + 1, -3), 1000);
  expect_kth(std::vector<float>((size_t{9} << 20) + 1, -3), 1000);  // more than a thread gathers
}

TEST_P(OnEverySimdLevel, MergedAreTheRowsThatAgree) {
  constexpr size_t kStride = 32;
  for (size_t n = 0; n <= 19; ++n) {
    std::vector<float> rows(3 * kStride), out(n);
    const Philox random(2, n);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(static_cast<int>(random.below(i, 7)) - 3);
    if (n > 4) rows[kStride + 4] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<double> factors{1, -0.5, 2}, weights{1, -0.5, 2};
    for (const bool plus : {false, true})
      for (const bool normalize : {false, true}) {
        merge_agreeing(rows, kStride, factors, weights, plus, normalize, out);
        int64_t balance = 0;
        for (size_t j = 0; j < n; ++j) {
          double sum = 0, merged = 0, weight = 0;
          for (size_t i = 0; i < 3; ++i) sum += factors[i] * static_cast<double>(rows[i * kStride + j]);
          balance += (sum > 0 ? 1 : 0) - (sum < 0 ? 1 : 0);
          if (n > 4 && j == 4) {
            EXPECT_TRUE(std::isnan(out[j]));
            continue;
          }
          const double sign = sum > 0 || (sum == 0 && plus) ? 1 : -1;
          for (size_t i = 0; i < 3; ++i) {
            const double value = factors[i] * static_cast<double>(rows[i * kStride + j]);
            merged += sign * value > 0 ? value : 0;
            weight += sign * value > 0 ? weights[i] : 0;
          }
          EXPECT_EQ(out[j], static_cast<float>(normalize && weight != 0 ? merged / weight : merged)) << n << " " << j;
        }
        EXPECT_EQ(sign_balance(rows, kStride, factors, n), balance);
      }
  }
}

}  // namespace
}  // namespace taskvec::kernels
