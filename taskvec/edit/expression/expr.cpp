#include "taskvec/edit/expression/expr.h"

#include "taskvec/core/error.h"
#include "taskvec/core/glob.h"
#include "taskvec/edit/expression/node.h"
#include "taskvec/edit/methods/method.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
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

/// A parameter's name without the number of the argument that it is for. @throws Error{InvalidArgument} where there is none
struct ParameterName {
  const Parameter* parameter;
  std::optional<size_t> argument;
};
std::optional<ParameterName> find_parameter(const Method& method, std::string_view name) {
  for (const Parameter& parameter : method.parameters) {
    if (name == parameter.name) return ParameterName{&parameter, std::nullopt};
    if (!parameter.of_argument || !name.starts_with(parameter.name)) continue;
    const std::string_view digits = name.substr(parameter.name.size());
    size_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc{} && end == digits.data() + digits.size() && number > 0 && digits.front() != '0')
      return ParameterName{&parameter, number - 1};
  }
  return std::nullopt;
}

void check_parameter(const Method& method, size_t arguments, const std::string& name, const Node& value) {
  const auto found = find_parameter(method, name);
  if (!found) {
    std::vector<std::string> known;
    for (const Parameter& parameter : method.parameters) known.emplace_back(parameter.name);
    fail(ErrorCode::InvalidArgument, "{} has no parameter '{}'{}; it has {}", method.name, name, did_you_mean(name, known),
         fmt::join(known, ", "));
  }
  if (found->argument && *found->argument >= arguments)
    fail(ErrorCode::InvalidArgument, "{} is for argument {}, but there are {}", name, *found->argument + 1, arguments);
  const auto& words = found->parameter->words;
  if (words.empty() ? value.weights || value.kind == NodeKind::Word
                    : value.kind != NodeKind::Word || std::ranges::find(words, value.text) == words.end())
    fail(ErrorCode::InvalidArgument, "{} takes {}", name,
         words.empty() ? "a number" : fmt::format("one of {}", fmt::join(words, ", ")));
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
  if (a.kind != b.kind || a.text != b.text || a.names != b.names || a.inverted != b.inverted || a.size != b.size) return false;
  if (a.value != b.value || std::signbit(a.value) != std::signbit(b.value) || a.children.size() != b.children.size())
    return false;
  for (size_t i = 0; i < a.children.size(); ++i)
    if (!equal(*a.children[i], *b.children[i])) return false;
  return true;
}

/// The degree in some coefficients, where it is 0 or 1; 2 stands for everything else.
int degree(const Node& node, const std::vector<std::string>& coefficients) {
  constexpr int kMore = 2;
  const auto of = [&](size_t i) { return degree(*node.children[i], coefficients); };
  switch (node.kind) {
    case NodeKind::Source:
    case NodeKind::Number:
    case NodeKind::Word: return 0;
    case NodeKind::Coefficient: return std::ranges::find(coefficients, node.text) == coefficients.end() ? 0 : 1;
    case NodeKind::Negate:
    case NodeKind::Select: return of(0);
    case NodeKind::Add:
    case NodeKind::Subtract: return std::max(of(0), of(1));
    case NodeKind::Multiply: return std::min(kMore, of(0) + of(1));
    case NodeKind::Divide: return of(1) == 0 ? of(0) : kMore;
    case NodeKind::Interpolate: return std::min(kMore, std::max(of(0), of(1)) + of(2));
    case NodeKind::Call: break;
  }
  for (size_t i = 0; i < node.children.size(); ++i)
    if (of(i) > 0) return kMore;
  return 0;
}

}  // namespace

bool is_affine(const Expr& expr, const std::vector<std::string>& coefficients) { return degree(expr.node(), coefficients) <= 1; }

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

Expr word(std::string text) {
  Node node{.kind = NodeKind::Word};
  node.text = std::move(text);
  return finish(std::move(node));
}

Expr call(std::string method, const std::vector<Expr>& arguments, const std::vector<std::pair<std::string, Expr>>& parameters) {
  const Method* known = find_method(method);
  if (known == nullptr) fail(ErrorCode::InvalidArgument, "'{}' is no method", method);
  if (arguments.size() < known->least_arguments)
    fail(ErrorCode::InvalidArgument, "{} takes at least {} weights, got {}", method, known->least_arguments, arguments.size());
  Node node{.kind = NodeKind::Call};
  node.text = std::move(method);
  for (const Expr& argument : arguments) {
    if (!argument.node().weights) fail(ErrorCode::InvalidArgument, "{} takes weights, then parameters by name", node.text);
    node.children.push_back(argument.shared());
  }
  for (const auto& [name, value] : parameters) {
    check_parameter(*known, arguments.size(), name, value.node());
    if (std::ranges::find(node.names, name) != node.names.end()) fail(ErrorCode::InvalidArgument, "{} is given twice", name);
    node.names.push_back(name);
    node.children.push_back(value.shared());
  }
  return finish(std::move(node));
}

Settings settings_of(const Node& call, const std::function<double(const Node&)>& number) {
  const Method& method = *find_method(call.text);
  const size_t arguments = call.children.size() - call.names.size();
  Settings settings(method.parameters, arguments);
  for (const bool of_one : {false, true})  // what is said of one argument wins over what is said of all
    for (size_t i = 0; i < call.names.size(); ++i) {
      const auto found = find_parameter(method, call.names[i]);
      if (found->argument.has_value() != of_one) continue;
      const Node& value = *call.children[arguments + i];
      const auto& words = found->parameter->words;
      settings.set(found->parameter->name, found->argument,
                   words.empty() ? number(value) : static_cast<double>(std::ranges::find(words, value.text) - words.begin()));
    }
  return settings;
}

}  // namespace taskvec::edit
