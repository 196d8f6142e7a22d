// Rules that hold for every expression, on random ones.
#include "taskvec/core/error.h"
#include "taskvec/edit/expression/expr.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace taskvec::edit {
namespace {

const std::map<std::string, double> kValues{{"base", 1.5}, {"a", -2.0}, {"b", 0.75}, {"c", 8.0}};
const CoefficientValues kCoefficients{{"x", 0.3}, {"y", -1.25}};

/// A random expression and its value where every source is a number.
struct Sample {
  Expr expr;
  double value;
};

double small_number() { return static_cast<double>(*rc::gen::inRange(-40, 41)) / 8; }

Sample random_scalar() {
  if (*rc::gen::inRange(0, 3) > 0) {
    const double value = small_number();
    return {number(value), value};
  }
  const auto& [name, value] = *std::next(kCoefficients.begin(), *rc::gen::inRange(0, 2));
  return {coefficient(name), value};
}

Sample random_expr(int depth) {
  const int kind = depth == 0 ? 0 : *rc::gen::inRange(0, 7);
  if (kind == 0) {
    const auto& [name, value] = *std::next(kValues.begin(), *rc::gen::inRange(0, 4));
    return {source(name), value};
  }
  const Sample left = random_expr(depth - 1);
  if (kind == 1) return {-left.expr, -left.value};
  if (kind == 2) {
    const Sample scalar = random_scalar();
    return {scalar.expr * left.expr, scalar.value * left.value};
  }
  if (kind == 3) {
    const Sample scalar = random_scalar();
    if (scalar.value == 0) return left;
    return {left.expr / scalar.expr, left.value / scalar.value};
  }
  const Sample right = random_expr(depth - 1);
  if (kind == 4) return {left.expr + right.expr, left.value + right.value};
  if (kind == 5) return {left.expr - right.expr, left.value - right.value};
  const Sample t = random_scalar();
  return {interpolate(left.expr, right.expr, t.expr), left.value + t.value * (right.value - left.value)};
}

double apply(const Expr& expr) {
  double sum = 0;
  for (const auto& [name, factor] : reduce(expr, "t", kCoefficients)) sum += factor * kValues.at(name);
  return sum;
}

bool close(double a, double b, double scale) {
  return std::abs(a - b) <= 1e-9 * std::max({1.0, std::abs(a), std::abs(b), scale});
}

RC_GTEST_PROP(ExprProperty, PrintedTextReadsBackAsTheSameTree, ()) {
  const Expr expr = random_expr(*rc::gen::inRange(0, 6)).expr;
  const std::string text = to_string(expr);
  RC_LOG(text);
  RC_ASSERT(parse(text) == expr);
  RC_ASSERT(to_string(parse(text)) == text);
}

RC_GTEST_PROP(ExprProperty, OneCoefficientPerSourceGivesTheValueOfTheTree, ()) {
  const Sample sample = random_expr(*rc::gen::inRange(0, 5));
  RC_LOG(to_string(sample.expr));
  RC_ASSERT(close(apply(sample.expr), sample.value, 1e3));
}

RC_GTEST_PROP(ExprProperty, SumsCommuteAndInterpolationIsItsDefinition, ()) {
  const Sample a = random_expr(2), b = random_expr(2), t = random_scalar();
  RC_ASSERT(close(apply(a.expr + b.expr), apply(b.expr + a.expr), 1e3));
  RC_ASSERT(close(apply(interpolate(a.expr, b.expr, t.expr)), apply(a.expr + t.expr * (b.expr - a.expr)), 1e3));
}

RC_GTEST_PROP(ExprProperty, APatternAndItsInverseShareTheTensorsOut, ()) {
  const Sample a = random_expr(3);
  const bool matches = *rc::gen::arbitrary<bool>();
  const std::string tensor = matches ? "v.weight" : "t.weight";
  double sum = 0;
  for (const bool inverted : {false, true}) {
    const auto terms = reduce(select(a.expr, "v.*", inverted), tensor, kCoefficients);
    if (matches == inverted) RC_ASSERT(terms.empty());
    for (const auto& [name, factor] : terms) sum += factor * kValues.at(name);
  }
  RC_ASSERT(close(sum, apply(a.expr), 1e3));
}

RC_GTEST_PROP(ExprProperty, AnyTextIsParsedOrRefusedWithAnError, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab1.$@!\"*+-/(), interpolate")));
  try {
    RC_ASSERT(parse(to_string(parse(text))) == parse(text));
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::InvalidArgument);
  }
}

}  // namespace
}  // namespace taskvec::edit
