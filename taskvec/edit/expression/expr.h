#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::edit {

struct Node;

/// An edit as data: an immutable, shared expression tree over named sources, numbers and named coefficients.
///
///     base + 0.4*(mnist - base) - $x*toxic
///     interpolate(base, ft, 0.3)
///     base + 0.3*(ft - base) @ "vision_model.*" + 0.1*(ft - base) @ !"vision_model.*"
///     base + 0.6*ties(a - base, b - base, density=0.2)
///
/// `@ "pattern"` keeps a term for the tensors whose names match and drops it for the others; it binds tighter than + and looser
/// than *. Sources are identifiers; `$name` is a coefficient whose value is given later. Products and quotients need a number on
/// one side (the divisor): every expression is affine in its sources and in calls of methods (methods/method.h), whose arguments
/// are such expressions again. An expression may hold 1,000 levels and 100,000 nodes; builders throw Error{InvalidArgument}
/// beyond that, and where numbers and weights are mixed up (`base + 1`, `a*b`).
class Expr {
 public:
  explicit Expr(std::shared_ptr<const Node> node) : node_(std::move(node)) {}
  const Node& node() const& { return *node_; }
  const std::shared_ptr<const Node>& shared() const& { return node_; }
  bool operator==(const Expr& other) const;  ///< the same tree

  std::vector<std::string> sources() const;       ///< in order of first appearance
  std::vector<std::string> coefficients() const;  ///< in order of first appearance, without `$`

 private:
  std::shared_ptr<const Node> node_;
};

/// @throws Error{InvalidArgument} with the text, a caret under the place, and what was expected there.
Expr parse(std::string_view text);
/// The canonical text: parse(to_string(e)) is the same tree.
std::string to_string(const Expr& expr);

/// Tree builders; the parser and other front ends use the same. Negated numbers become negative numbers.
Expr source(std::string name);
Expr number(double value);
Expr coefficient(std::string name);
Expr operator+(const Expr& a, const Expr& b);
Expr operator-(const Expr& a, const Expr& b);
Expr operator*(const Expr& a, const Expr& b);
Expr operator/(const Expr& a, const Expr& b);
Expr operator-(const Expr& a);
Expr interpolate(const Expr& a, const Expr& b, const Expr& t);
Expr select(const Expr& a, std::string pattern, bool inverted = false);
/// A value of a parameter that is one of some words.
Expr word(std::string text);
/// A call of a method. @param parameters  "density", or "density2" for the second argument alone: a number or a word
/// @throws Error{InvalidArgument} naming what there is: methods, parameters, words; for arguments that are no weights
Expr call(std::string method, const std::vector<Expr>& arguments, const std::vector<std::pair<std::string, Expr>>& parameters);

using CoefficientValues = std::map<std::string, double, std::less<>>;

/// Whether the weights are w + Σ_k $k v_k in these coefficients, whatever the others are: from the form of the expression, so
/// that one which happens to be so (`$a*$b - $a*$b`) is not.
bool is_affine(const Expr& expr, const std::vector<std::string>& coefficients);

/// source name -> float64 coefficient, for the tensor called `tensor_name`, in order of first appearance; sources that cancel are
/// absent.
/// @throws Error{InvalidArgument} when a coefficient has no value (nearest suggested) or none that is finite, or on a division by
/// zero.
std::vector<std::pair<std::string, double>> reduce(const Expr& expr, std::string_view tensor_name,
                                                   const CoefficientValues& values);

}  // namespace taskvec::edit
