#include "taskvec/core/error.h"
#include "taskvec/core/random.h"
#include "taskvec/kernels/convert.h"
#include "taskvec/kernels/matmul.h"
#include "taskvec/kernels/simd.h"
#include "taskvec/kernels/statistics.h"
#include "taskvec/kernels/weighted_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace taskvec::kernels {
namespace {

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

template <typename To, typename From>
To convert_one(Dtype from, From value, Dtype to) {
  To result;
  convert(from, std::as_bytes(std::span(&value, 1)), to, std::as_writable_bytes(std::span(&result, 1)));
  return result;
}

struct Row {
  uint32_t f32;
  uint16_t f16, bf16;
  uint8_t e4m3, e5m2;
};

// Made by torch 2.13: x.half(), x.bfloat16(), x.to(torch.float8_e4m3fn), x.to(torch.float8_e5m2).
constexpr Row kTorch[] = {
    {0x378144a3, 0x0103, 0x3781, 0x00, 0x01}, {0xb644eab3, 0x8031, 0xb645, 0x80, 0x80}, {0xc5082ca1, 0xe841, 0xc508, 0xfe, 0xe8},
    {0x45b1a280, 0x6d8d, 0x45b2, 0x7e, 0x6e}, {0xc48790b7, 0xe43d, 0xc488, 0xfe, 0xe4}, {0xc4aed30e, 0xe577, 0xc4af, 0xfe, 0xe5},
    {0x34d88b91, 0x0007, 0x34d9, 0x00, 0x00}, {0x3c094d5f, 0x204a, 0x3c09, 0x04, 0x20}, {0xc28fd9fd, 0xd47f, 0xc290, 0xe9, 0xd4},
    {0xb9d377db, 0x8e9c, 0xb9d3, 0x80, 0x8f}, {0xc41528a9, 0xe0a9, 0xc415, 0xfe, 0xe1}, {0x344375cf, 0x0003, 0x3443, 0x00, 0x00},
    {0x3f808000, 0x3c04, 0x3f80, 0x38, 0x3c}, {0x3f818000, 0x3c0c, 0x3f82, 0x38, 0x3c}, {0x477fefe6, 0x7bff, 0x4780, 0x7e, 0x7c},
    {0x477ff000, 0x7c00, 0x4780, 0x7e, 0x7c}, {0x43e00000, 0x5f00, 0x43e0, 0x7e, 0x5f}, {0x43e80000, 0x5f40, 0x43e8, 0x7e, 0x5f},
    {0x43e88000, 0x5f44, 0x43e8, 0x7e, 0x5f}, {0x47600000, 0x7b00, 0x4760, 0x7e, 0x7b}, {0x47700000, 0x7b80, 0x4770, 0x7e, 0x7c},
    {0x33800000, 0x0001, 0x3380, 0x00, 0x00}, {0x33000000, 0x0000, 0x3300, 0x00, 0x00}, {0x33000001, 0x0001, 0x3300, 0x00, 0x00},
    {0x3b000000, 0x1800, 0x3b00, 0x01, 0x18}, {0x3a800000, 0x1400, 0x3a80, 0x00, 0x14}, {0x80000000, 0x8000, 0x8000, 0x80, 0x80},
};

TEST(Convert, RoundsAsTorch) {
  for (const Row& row : kTorch) {
    const float value = std::bit_cast<float>(row.f32);
    EXPECT_EQ(convert_one<uint16_t>(Dtype::F32, value, Dtype::F16), row.f16) << value;
    EXPECT_EQ(convert_one<uint16_t>(Dtype::F32, value, Dtype::BF16), row.bf16) << value;
    EXPECT_EQ(convert_one<uint8_t>(Dtype::F32, value, Dtype::F8_E4M3), row.e4m3) << value;
    EXPECT_EQ(convert_one<uint8_t>(Dtype::F32, value, Dtype::F8_E5M2), row.e5m2) << value;
  }
}

// The compiler's own half-precision type as the oracle, for every bit pattern.
TEST(Convert, DecodesEveryHalfAsTheCompilerDoes) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto expected = static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(bits)));
    const auto actual = convert_one<float>(Dtype::F16, static_cast<uint16_t>(bits), Dtype::F32);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(actual), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

TEST(Convert, EncodesAsTheCompilerDoes) {
  const Philox random(0, "encode");
  for (uint64_t i = 0; i < 200'000; ++i) {
    const auto value = std::bit_cast<float>(random.block(i)[0]);
    if (std::isnan(value)) continue;
    ASSERT_EQ(convert_one<uint16_t>(Dtype::F32, value, Dtype::F16), std::bit_cast<uint16_t>(static_cast<_Float16>(value)))
        << value;
  }
}

TEST(Convert, EveryNarrowPatternSurvivesTheWayToFloat64AndBack) {
  for (const Dtype dtype : {Dtype::F16, Dtype::BF16}) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const auto wide = convert_one<double>(dtype, static_cast<uint16_t>(bits), Dtype::F64);
      if (!std::isnan(wide)) {
        ASSERT_EQ(convert_one<uint16_t>(Dtype::F64, wide, dtype), bits) << name(dtype);
      }
    }
  }
}

// 1 + 2^-8 + 2^-40 lies just above the middle of two bfloat16s; rounded to float32 first, it would be the middle and go down.
TEST(Convert, Float64ToBfloat16RoundsOnce) {
  EXPECT_EQ(convert_one<uint16_t>(Dtype::F64, 1 + 0x1p-8 + 0x1p-40, Dtype::BF16), 0x3F81);
}

/// What defines a float format of at most 16 bits, in the standard library's words.
struct Format {
  Dtype dtype;
  int mantissa_bits, smallest_exponent;  // of a normal number
  double largest;
  bool has_infinity;

  int bits() const { return static_cast<int>(8 * itemsize(dtype)); }
  uint32_t sign() const { return 1U << (bits() - 1); }

  double decode(uint32_t pattern) const {
    const uint32_t magnitude = pattern & (sign() - 1), mantissa = magnitude & ((1U << mantissa_bits) - 1);
    const int exponent = static_cast<int>(magnitude >> mantissa_bits);
    double value = std::ldexp(exponent == 0 ? mantissa : mantissa | 1U << mantissa_bits,
                              std::max(exponent, 1) - 1 + smallest_exponent - mantissa_bits);
    if (value > largest) value = has_infinity && mantissa == 0 ? HUGE_VAL : NAN;
    return std::copysign(value, (pattern & sign()) != 0 ? -1.0 : 1.0);
  }

  uint32_t encode(double value) const {
    const double magnitude = std::abs(value);
    const uint32_t infinity = ((1U << (bits() - 1 - mantissa_bits)) - 1) << mantissa_bits;
    if (std::isnan(value)) return has_infinity ? infinity | 1U << (mantissa_bits - 1) : sign() - 1;
    const uint32_t negative = std::signbit(value) ? sign() : 0;
    const int exponent =
        magnitude == 0 || std::isinf(magnitude) ? smallest_exponent : std::max(std::ilogb(magnitude), smallest_exponent);
    const double places = std::nearbyint(std::ldexp(magnitude, mantissa_bits - exponent));  // halves to even
    if (std::ldexp(places, exponent - mantissa_bits) > largest) return negative | (has_infinity ? infinity : sign() - 2);
    return negative | ((static_cast<uint32_t>(exponent - smallest_exponent) << mantissa_bits) + static_cast<uint32_t>(places));
  }
};

constexpr Format kFormats[] = {{Dtype::F16, 10, -14, 65504, true},
                               {Dtype::BF16, 7, -126, 0x1.FEp127, true},
                               {Dtype::F8_E5M2, 2, -14, 57344, true},
                               {Dtype::F8_E4M3, 3, -6, 448, false}};

/// Numbers at which the rounding to a format changes, for all of its numbers: the middle of two neighbours and the next doubles
/// and floats on both sides of it, the number itself; infinities, NaN, subnormal numbers of the wide formats, the largest ones.
std::vector<double> edges(const Format& format) {
  std::vector<double> values{0.0,      -0.0,    HUGE_VAL, -HUGE_VAL, NAN,     -NAN,  DBL_MAX,
                             -DBL_MAX, DBL_MIN, 5e-324,   FLT_MAX,   FLT_MIN, 1e-45, -1e-45};
  for (uint32_t pattern = 0; pattern < format.sign(); ++pattern) {
    const double value = format.decode(pattern), next = format.decode(pattern + 1);
    if (!std::isfinite(value)) continue;
    const double after = std::isfinite(next) ? next : 2 * value - format.decode(pattern - 1);  // where the format has no more
    const double middle = (value + after) / 2;
    for (const double edge : {value, middle}) {
      for (const double near : {edge, std::nextafter(edge, 0.0), std::nextafter(edge, HUGE_VAL),
                                static_cast<double>(std::nextafter(static_cast<float>(edge), 0.0F)),
                                static_cast<double>(std::nextafter(static_cast<float>(edge), HUGE_VALF))}) {
        values.push_back(near);
        values.push_back(-near);
      }
    }
  }
  return values;
}

class ConvertOnEverySimdLevel : public testing::Test {
 protected:
  void TearDown() override { set_simd_level(""); }

  static std::vector<std::byte> converted(Dtype from, std::span<const std::byte> source, Dtype to) {
    std::vector<std::byte> out(source.size() / static_cast<size_t>(itemsize(from)) * static_cast<size_t>(itemsize(to)));
    convert(from, source, to, out);
    return out;
  }

  template <typename T>
  static T element(const std::vector<std::byte>& bytes, size_t i) {
    T value{};
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  }
};

TEST_F(ConvertOnEverySimdLevel, DecodesEveryPattern) {
  for (const std::string& level : simd_levels()) {
    set_simd_level(level);
    for (const Format& format : kFormats) {
      const auto item = static_cast<size_t>(itemsize(format.dtype));
      const uint32_t count = 2 * format.sign();
      std::vector<std::byte> patterns(count * item);
      for (uint32_t i = 0; i < count; ++i) std::memcpy(patterns.data() + i * item, &i, item);
      const auto f32 = converted(format.dtype, patterns, Dtype::F32), f64 = converted(format.dtype, patterns, Dtype::F64);
      for (uint32_t i = 0; i < count; ++i) {
        const double expected = format.decode(i);
        const auto bits = std::isnan(expected) ? 0x7FF8000000000000 : std::bit_cast<uint64_t>(expected);
        const auto narrow = std::isnan(expected) ? 0x7FC00000 : std::bit_cast<uint32_t>(static_cast<float>(expected));
        ASSERT_EQ(element<uint64_t>(f64, i), bits) << level << ", " << name(format.dtype) << " " << i;
        ASSERT_EQ(element<uint32_t>(f32, i), narrow) << level << ", " << name(format.dtype) << " " << i;
      }
    }
  }
}

TEST_F(ConvertOnEverySimdLevel, RoundsOnceAtEveryEdge) {
  for (const Format& format : kFormats) {
    const std::vector<double> values = edges(format);
    std::vector<float> narrow;
    for (const double value : values) narrow.push_back(static_cast<float>(value));
    for (const std::string& level : simd_levels()) {
      set_simd_level(level);
      const auto from64 = converted(Dtype::F64, std::as_bytes(std::span(values)), format.dtype);
      const auto from32 = converted(Dtype::F32, std::as_bytes(std::span(narrow)), format.dtype);
      for (size_t i = 0; i < values.size(); ++i) {
        const auto actual = [&](const std::vector<std::byte>& bytes) {
          return format.bits() == 8 ? element<uint8_t>(bytes, i) : element<uint16_t>(bytes, i);
        };
        ASSERT_EQ(actual(from64), format.encode(values[i])) << level << ", " << name(format.dtype) << " " << values[i];
        ASSERT_EQ(actual(from32), format.encode(narrow[i])) << level << ", " << name(format.dtype) << " " << narrow[i];
      }
    }
  }
}

TEST_F(ConvertOnEverySimdLevel, BetweenTheWideFormatsAsTheCompilerDoesAndNaNsLoseTheirPayload) {
  std::vector<double> values = edges(kFormats[1]);
  for (const uint64_t nan : {0x7FF0000000000001U, 0xFFF8000000000123U, 0x7FF8000020000000U})
    values.push_back(std::bit_cast<double>(nan));
  std::vector<float> narrow;
  for (const double value : values) narrow.push_back(static_cast<float>(value));
  narrow.push_back(std::bit_cast<float>(0x7F800001));  // signalling
  narrow.push_back(std::bit_cast<float>(0xFFC12345));
  const auto quiet = [](auto value) { return std::isnan(value) ? std::numeric_limits<decltype(value)>::quiet_NaN() : value; };
  for (const std::string& level : simd_levels()) {
    set_simd_level(level);
    for (const size_t shift : {size_t{0}, size_t{1}}) {  // aligned, and not
      std::vector<std::byte> wide(values.size() * sizeof(double) + shift), small(narrow.size() * sizeof(float) + shift);
      std::memcpy(wide.data() + shift, values.data(), wide.size() - shift);
      std::memcpy(small.data() + shift, narrow.data(), small.size() - shift);
      const auto same = converted(Dtype::F64, std::span(wide).subspan(shift), Dtype::F64);
      const auto demoted = converted(Dtype::F64, std::span(wide).subspan(shift), Dtype::F32);
      const auto promoted = converted(Dtype::F32, std::span(small).subspan(shift), Dtype::F64);
      const auto kept = converted(Dtype::F32, std::span(small).subspan(shift), Dtype::F32);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(element<uint64_t>(same, i), std::bit_cast<uint64_t>(quiet(values[i]))) << level;
        ASSERT_EQ(element<uint32_t>(demoted, i), std::bit_cast<uint32_t>(quiet(static_cast<float>(values[i])))) << level;
      }
      for (size_t i = 0; i < narrow.size(); ++i) {
        ASSERT_EQ(element<uint32_t>(kept, i), std::bit_cast<uint32_t>(quiet(narrow[i]))) << level;
        ASSERT_EQ(element<uint64_t>(promoted, i), std::bit_cast<uint64_t>(quiet(static_cast<double>(narrow[i])))) << level;
      }
    }
  }
}

class WeightedSum : public testing::TestWithParam<Dtype> {
 protected:
  void TearDown() override { set_simd_level(""); }

  /// n elements with every kind of value, NaN and infinity among them.
  static std::vector<std::byte> sample(Dtype dtype, size_t n, uint64_t seed) {
    const Philox random(seed, "sample");
    std::vector<double> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = random.normal(i) * std::exp2(static_cast<double>(random.below(n + i, 40)) - 30);
    if (n > 9) {
      values[3] = std::numeric_limits<double>::quiet_NaN();
      values[7] = std::numeric_limits<double>::infinity();
      values[8] = -0.0;
    }
    std::vector<std::byte> bytes(n * static_cast<size_t>(itemsize(dtype)));
    convert(Dtype::F64, std::as_bytes(std::span(values)), dtype, bytes);
    return bytes;
  }
};

TEST_P(WeightedSum, IsTheSameOnEverySimdLevelAndAtAnyAlignment) {
  const size_t n = 4096 + 77, item = static_cast<size_t>(itemsize(GetParam()));
  const auto a = sample(GetParam(), n, 1), b = sample(GetParam(), n, 2), c = sample(GetParam(), n, 3);
  std::vector<std::byte> expected;
  for (const std::string& level : simd_levels()) {
    set_simd_level(level);
    for (const size_t shift : {size_t{0}, size_t{1}}) {
      std::vector<std::byte> moved(n * item + shift), out(n * item + shift);
      std::memcpy(moved.data() + shift, b.data(), b.size());
      const std::array<Addend, 3> addends{Addend{GetParam(), a.data(), 0.1}, Addend{GetParam(), moved.data() + shift, 0.3},
                                          Addend{GetParam(), c.data(), 0.6}};
      weighted_sum(addends, static_cast<int64_t>(n), GetParam(), out.data() + shift);
      out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(shift));
      if (expected.empty()) expected = out;
      ASSERT_EQ(out, expected) << level << ", shift " << shift;
    }
  }
  EXPECT_GT(simd_levels().size(), 1U);
}

TEST_P(WeightedSum, CopiesThatAverageReturnTheCopy) {
  const auto a = sample(GetParam(), 3000, 4);
  for (const int copies : {2, 3, 7, 10, 49}) {
    const std::vector<Addend> addends(static_cast<size_t>(copies), Addend{GetParam(), a.data(), 1.0 / copies});
    std::vector<std::byte> out(a.size());
    weighted_sum(addends, 3000, GetParam(), out.data());
    ASSERT_EQ(out, a) << copies << " copies";
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, WeightedSum,
                         testing::Values(Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E4M3, Dtype::F8_E5M2),
                         [](const auto& dtype) { return std::string(name(dtype.param)); });

TEST(WeightedSumOrder, IsTheSourcesOrderInTheComputeFormat) {
  // In float32, (1e8 + 1) - 1e8 is 0 and (1e8 - 1e8) + 1 is 1.
  const std::vector<uint16_t> big{0x4CBF}, one{0x3F80};  // about 1e8, 1
  const auto x = bytes_of(big), y = bytes_of(one);
  float out = -1;
  const std::array<Addend, 3> first{Addend{Dtype::BF16, x.data(), 1}, Addend{Dtype::BF16, y.data(), 1},
                                    Addend{Dtype::BF16, x.data(), -1}};
  uint16_t narrow = 1;
  weighted_sum(first, 1, Dtype::BF16, reinterpret_cast<std::byte*>(&narrow));
  EXPECT_EQ(narrow, 0);
  // A float32 output is evaluated in float64, where nothing is lost.
  weighted_sum(first, 1, Dtype::F32, reinterpret_cast<std::byte*>(&out));
  EXPECT_EQ(out, 1.0F);
}

TEST(MultiplyAdd, AddsProductAfterProductOnEverySimdLevel) {
  constexpr size_t kRows = 7, kDepth = 5, kColumns = 128;
  const Philox random(3, "matmul");
  std::vector<double> left(kRows * kDepth), right(kDepth * kColumns), start(kRows * kColumns);
  for (auto* values : {&left, &right, &start})
    for (size_t i = 0; i < values->size(); ++i) (*values)[i] = random.normal(i + values->size());
  std::vector<double> expected = start;
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t k = 0; k < kDepth; ++k) {
      for (size_t c = 0; c < kColumns; ++c) {
        const double product = left[r * kDepth + k] * right[k * kColumns + c];
        expected[r * kColumns + c] += product;
      }
    }
  }
  for (const std::string& level : simd_levels()) {
    set_simd_level(level);
    std::vector<double> sums = start;
    multiply_add(left.data(), right.data(), sums.data(), kRows, kDepth, kColumns);
    EXPECT_EQ(sums, expected) << level;
  }
  set_simd_level("");
}

TEST(Simd, AnUnknownLevelListsTheKnownOnes) {
  try {
    set_simd_level("AVX9");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("no SIMD level 'AVX9'"), testing::HasSubstr(simd_levels().front())));
  }
  set_simd_level("");
}

TEST(Statistics, DifferenceOfTwoTensors) {
  const auto a = bytes_of(std::vector<float>{1, 2, 3, NAN}), b = bytes_of(std::vector<float>{1, 4, 0, NAN});
  const Difference d = difference(Dtype::F32, a.data(), Dtype::F32, b.data(), 4);
  EXPECT_EQ(d.n, 4);
  EXPECT_EQ(d.differing, 2);
  EXPECT_EQ(d.max_abs, 3);
  EXPECT_EQ(d.sum_abs, 5);
  EXPECT_EQ(d.sum_squares, 13);
  EXPECT_EQ(d.non_finite, 1);
  EXPECT_EQ(count_non_finite(Dtype::F32, a.data(), 4), 1);
}

class StatisticsOfDtype : public WeightedSum {};

/// Of the partial sums, in the order that statistics.h documents.
double fold(const std::array<double, 8>& s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

// The sums as statistics.h defines them, one element after the other.
TEST_P(StatisticsOfDtype, DifferenceIsTheSameOnEverySimdLevelAndAtAnyAlignment) {
  for (const size_t n : {size_t{5}, size_t{1024}, size_t{3 * 1024 + 77}}) {
    for (const bool finite : {true, false}) {
      const size_t item = static_cast<size_t>(itemsize(GetParam()));
      auto a = sample(GetParam(), n, 1), b = sample(GetParam(), n, 2);
      if (finite) {
        std::fill_n(a.begin(), std::min<size_t>(n, 10) * item, std::byte{});
        std::fill_n(b.begin(), std::min<size_t>(n, 10) * item, std::byte{});
      }
      std::vector<double> x(n), y(n);
      convert(GetParam(), a, Dtype::F64, std::as_writable_bytes(std::span(x)));
      convert(GetParam(), b, Dtype::F64, std::as_writable_bytes(std::span(y)));
      std::array<double, 8> abs{}, squares{}, ab{};
      for (size_t i = 0; i < n; ++i) {
        const double product = x[i] * y[i], gap = std::memcmp(&a[i * item], &b[i * item], item) == 0 ? 0 : y[i] - x[i];
        const double square = gap * gap;
        abs[i % 8] += std::abs(gap);
        squares[i % 8] += square;
        ab[i % 8] += product;
      }
      for (const std::string& level : simd_levels()) {
        set_simd_level(level);
        for (const size_t shift : {size_t{0}, size_t{1}}) {
          std::vector<std::byte> moved(b.size() + shift);
          std::memcpy(moved.data() + shift, b.data(), b.size());
          const Difference d = difference(GetParam(), a.data(), GetParam(), moved.data() + shift, static_cast<int64_t>(n));
          EXPECT_EQ(d.non_finite, finite || n < 10 ? 0 : GetParam() == Dtype::F8_E4M3 ? 1 : 2);  // that has no infinity
          const auto same = [](double actual, double expected) {
            return actual == expected || (std::isnan(actual) && std::isnan(expected));
          };
          EXPECT_TRUE(same(d.sum_abs, fold(abs))) << level << ": " << d.sum_abs << " and " << fold(abs);
          EXPECT_TRUE(same(d.sum_squares, fold(squares))) << level;
          EXPECT_TRUE(same(d.dot_ab, fold(ab))) << level;
        }
      }
    }
  }
}

// What a difference of finite elements loses when it is stored as bfloat16.
TEST_P(StatisticsOfDtype, ResidualIsTheSameOnEverySimdLevelAndAtAnyAlignment) {
  for (const size_t n : {size_t{5}, size_t{1024}, size_t{3 * 1024 + 77}}) {
    std::vector<double> x(n), y(n), exact(n), stored(n);
    const Philox random(7, n);
    for (size_t i = 0; i < n; ++i) {
      x[i] = random.normal(i);
      y[i] = random.normal(n + i);
    }
    const auto narrowed = [](Dtype dtype, std::vector<double>& values) {
      std::vector<std::byte> bytes(values.size() * static_cast<size_t>(itemsize(dtype)));
      const auto wide = std::as_writable_bytes(std::span(values));
      convert(Dtype::F64, wide, dtype, bytes);
      convert(dtype, bytes, Dtype::F64, wide);
      return bytes;
    };
    const auto a = narrowed(GetParam(), x), b = narrowed(GetParam(), y);
    for (size_t i = 0; i < n; ++i) stored[i] = exact[i] = x[i] - y[i];
    const auto c = narrowed(Dtype::BF16, stored);
    std::array<double, 8> error{}, norm{};
    for (size_t i = 0; i < n; ++i) {
      const double gap = stored[i] - exact[i], square = gap * gap, product = exact[i] * exact[i];
      error[i % 8] += square;
      norm[i % 8] += product;
    }
    for (const std::string& level : simd_levels()) {
      set_simd_level(level);
      for (const size_t shift : {size_t{0}, size_t{1}, size_t{2}}) {
        std::vector<std::byte> moved(b.size() + shift);
        std::memcpy(moved.data() + shift, b.data(), b.size());
        const Residual result =
            residual(GetParam(), a.data(), GetParam(), moved.data() + shift, Dtype::BF16, c.data(), static_cast<int64_t>(n));
        EXPECT_EQ(result.error, fold(error)) << level << ", " << n;
        EXPECT_EQ(result.norm, fold(norm)) << level << ", " << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, StatisticsOfDtype,
                         testing::Values(Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8_E4M3, Dtype::F8_E5M2),
                         [](const auto& dtype) { return std::string(name(dtype.param)); });

TEST(Statistics, MagnitudesSignsAndRanksAreTheSameOnEverySimdLevel) {
  for (const size_t n : {size_t{0}, size_t{3}, size_t{8}, size_t{1029}}) {
    std::vector<double> values(n);
    std::vector<uint32_t> small(n);
    const Philox random(11, n);
    std::array<double, 8> abs{}, squares{};
    std::vector<std::byte> signs((n + 7) / 8);
    int64_t above = 0, equal = 0;
    for (size_t i = 0; i < n; ++i) {
      values[i] = i % 5 == 0 ? -0.0 : random.normal(i);  // which is not below zero
      small[i] = static_cast<uint32_t>(random.below(i, 5)) + 0x7FFFFFFE;
      const double square = values[i] * values[i];
      abs[i % 8] += std::abs(values[i]);
      squares[i % 8] += square;
      if (values[i] < 0) signs[i / 8] |= static_cast<std::byte>(1 << (i % 8));
      above += small[i] > 0x80000000 ? 1 : 0;
      equal += small[i] == 0x80000000 ? 1 : 0;
    }
    for (const std::string& level : simd_levels()) {
      set_simd_level(level);
      const Magnitudes sums = magnitudes(values);
      EXPECT_EQ(sums.sum_abs, fold(abs)) << level << ", " << n;
      EXPECT_EQ(sums.sum_squares, fold(squares)) << level << ", " << n;
      std::vector<std::byte> bits(signs.size(), std::byte{0xFF});
      negative_bits(values, bits);
      EXPECT_EQ(bits, signs) << level << ", " << n;
      EXPECT_EQ(count_above_and_equal(small, 0x80000000), std::pair(above, equal)) << level << ", " << n;
    }
  }
}

TEST(Statistics, ElementsOfOneDtypeDifferWhereTheirBitsDo) {
  const std::vector<float> zeros{0.0F, 1.0F}, negative{-0.0F, 1.0F};
  const std::vector<double> wide{-0.0, 1.0};
  const auto* a = reinterpret_cast<const std::byte*>(zeros.data());
  EXPECT_EQ(difference(Dtype::F32, a, Dtype::F32, reinterpret_cast<const std::byte*>(negative.data()), 2).differing, 1);
  EXPECT_EQ(difference(Dtype::F32, a, Dtype::F64, reinterpret_cast<const std::byte*>(wide.data()), 2).differing, 0);
}

TEST(Statistics, ANanOnOneSideIsTheLargestDifference) {
  const std::vector<float> a{1, NAN, 2, 3}, b{1, 1, 9, 3};
  const auto bytes = [](const std::vector<float>& values) { return reinterpret_cast<const std::byte*>(values.data()); };
  const Difference d = difference(Dtype::F32, bytes(a), Dtype::F32, bytes(b), 4);
  EXPECT_TRUE(std::isnan(d.max_abs));
  EXPECT_EQ(d.differing, 2);
  EXPECT_EQ(d.non_finite, 1);
}

}  // namespace
}  // namespace taskvec::kernels
