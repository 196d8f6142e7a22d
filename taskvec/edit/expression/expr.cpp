#include "taskvec/edit/expression/expr.h"

#include "taskvec/core/error.h"
#include "taskvec/core/glob.h"
#include "taskvec/edit/expression/node.h"

#include <algorithm>
#include <cmath>

namespace taskvec::edit {
namespace {

constexpr int32_t kMaxDepth = 1000;
constexpr int64_t kMaxNodes = 100'000;

/// Finishes a node whose operands are known: what it stands for, and the bounds that keep recursion over a tree harmless.
Expr finish(Node node) {
  for (const auto& child : node.children) {
    node.weights = node.weights || child->weights;
    node.depth = std::max(node.depth, child->depth + 1);
    node.size += child->size;
  }
  if (node.depth > kMaxDepth)
    fail(ErrorCode::InvalidArgument, "the expression has more than {} levels; put parts of a long sum into parentheses",
         kMaxDepth);
  if (node.size > kMaxNodes) fail(ErrorCode::InvalidArgument, "the expression has more than {} nodes", kMaxNodes);
  return Expr(std::make_shared<const Node>(std::move(node)));
}

Expr combine(NodeKind kind, std::initializer_list<Expr> operands) {
  Node node{.kind = kind};
  for (const auto& operand : operands) node.children.push_back(operand.shared());
  return finish(std::move(node));
}

Expr named(NodeKind kind, std::string name, const char* what) {
  if (!is_identifier(name))
    fail(ErrorCode::InvalidArgument, "'{}' is no name for a {}: use letters, digits and _, starting with no digit", name, what);
  Node node{.kind = kind};
  node.text = std::move(name);
  node.weights = kind == NodeKind::Source;
  return finish(std::move(node));
}

void require_same_kind(const Expr& a, const Expr& b, const char* what) {
  if (a.node().weights != b.node().weights)
    fail(ErrorCode::InvalidArgument, "{} needs weights on both sides or numbers on both sides; to scale weights, use *", what);
}

std::vector<std::string> names_of(const Node& root, NodeKind kind) {
  std::vector<std::string> names;
  walk(root, [&](const Node& node) {
    if (node.kind == kind && std::find(names.begin(), names.end(), node.text) == names.end()) names.push_back(node.text);
  });
  return names;
}

bool equal(const Node& a, const Node& b) {
  if (&a == &b) return true;
  if (a.kind != b.kind || a.text != b.text || a.inverted != b.inverted || a.size != b.size) return false;
  if (a.value != b.value || std::signbit(a.value) != std::signbit(b.value) || a.children.size() != b.children.size())
    return false;
  for (size_t i = 0; i < a.children.size(); ++i)
    if (!equal(*a.children[i], *b.children[i])) return false;
  return true;
}

}  // namespace

bool is_identifier(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || !letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

std::vector<std::string> Expr::sources() const { return names_of(*node_, NodeKind::Source); }
std::vector<std::string> Expr::coefficients() const { return names_of(*node_, NodeKind::Coefficient); }
bool Expr::operator==(const Expr& other) const { return equal(*node_, *other.node_); }

Expr source(std::string name) { return named(NodeKind::Source, std::move(name), "source"); }
Expr coefficient(std::string name) { return named(NodeKind::Coefficient, std::move(name), "coefficient"); }

Expr number(double value) {
  if (!std::isfinite(value)) fail(ErrorCode::InvalidArgument, "a number in an expression must be finite, got {}", value);
  Node node{.kind = NodeKind::Number};
  node.value = value;
  return finish(std::move(node));
}

Expr operator+(const Expr& a, const Expr& b) {
  require_same_kind(a, b, "+");
  return combine(NodeKind::Add, {a, b});
}

Expr operator-(const Expr& a, const Expr& b) {
  require_same_kind(a, b, "-");
  return combine(NodeKind::Subtract, {a, b});
}

Expr operator*(const Expr& a, const Expr& b) {
  if (a.node().weights && b.node().weights)
    fail(ErrorCode::InvalidArgument, "* needs a number on one side; weights times weights is not an edit");
  return combine(NodeKind::Multiply, {a, b});
}

Expr operator/(const Expr& a, const Expr& b) {
  if (b.node().weights) fail(ErrorCode::InvalidArgument, "/ needs a number on its right side");
  return combine(NodeKind::Divide, {a, b});
}

Expr operator-(const Expr& a) {
  if (a.node().kind == NodeKind::Number) return number(-a.node().value);
  return combine(NodeKind::Negate, {a});
}

Expr interpolate(const Expr& a, const Expr& b, const Expr& t) {
  require_same_kind(a, b, "interpolate(a, b, t)");
  if (t.node().weights) fail(ErrorCode::InvalidArgument, "interpolate(a, b, t) needs a number as its third argument");
  return combine(NodeKind::Interpolate, {a, b, t});
}

Expr select(const Expr& a, std::string pattern, bool inverted) {
  const Glob checked(pattern);
  Node node{.kind = NodeKind::Select};
  node.text = std::move(pattern);
  node.inverted = inverted;
  node.children.push_back(a.shared());
  return finish(std::move(node));
}

}  // namespace taskvec::edit
