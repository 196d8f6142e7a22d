#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/expression/node.h"
#include "taskvec/edit/expression/number_text.h"

namespace taskvec::edit {
namespace {

/// How tightly what a node prints as holds together; parentheses go around an operand that is looser than its place allows.
enum Tightness { kSum, kTerm, kProduct, kUnary, kPrimary };

Tightness tightness(const Node& node) {
  switch (node.kind) {
    case NodeKind::Add:
    case NodeKind::Subtract: return kSum;
    case NodeKind::Select: return kTerm;
    case NodeKind::Multiply:
    case NodeKind::Divide: return kProduct;
    case NodeKind::Negate: return kUnary;
    default: return kPrimary;
  }
}

void print(const Node& node, std::string& out);

void print_operand(const Node& node, Tightness place, std::string& out) {
  const bool parentheses = tightness(node) < place;
  if (parentheses) out += '(';
  print(node, out);
  if (parentheses) out += ')';
}

void print_pattern(const Node& node, std::string& out) {
  out += node.inverted ? " @ !\"" : " @ \"";
  for (const char c : node.text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void print(const Node& node, std::string& out) {
  // Left operands may be as loose as the operator itself, right ones must be tighter: operators group to the left.
  const auto infix = [&](const char* op, Tightness left, Tightness right) {
    print_operand(*node.children[0], left, out);
    out += op;
    print_operand(*node.children[1], right, out);
  };
  switch (node.kind) {
    case NodeKind::Source: out += node.text; break;
    case NodeKind::Number: out += number_text(node.value); break;
    case NodeKind::Coefficient: out += '$' + node.text; break;
    case NodeKind::Negate:
      out += '-';
      print_operand(*node.children[0], kUnary, out);
      break;
    case NodeKind::Add: infix(" + ", kSum, kTerm); break;
    case NodeKind::Subtract: infix(" - ", kSum, kTerm); break;
    case NodeKind::Multiply: infix("*", kProduct, kUnary); break;
    case NodeKind::Divide: infix("/", kProduct, kUnary); break;
    case NodeKind::Interpolate:
      out += "interpolate(";
      for (size_t i = 0; i < node.children.size(); ++i) {
        if (i > 0) out += ", ";
        print(*node.children[i], out);
      }
      out += ')';
      break;
    case NodeKind::Call: {
      out += node.text + "(";
      const size_t arguments = node.children.size() - node.names.size();
      for (size_t i = 0; i < node.children.size(); ++i) {
        if (i > 0) out += ", ";
        if (i >= arguments) out += node.names[i - arguments] + "=";
        print(*node.children[i], out);
      }
      out += ')';
      break;
    }
    case NodeKind::Word: out += node.text; break;
    case NodeKind::Select:
      print_operand(*node.children[0], kTerm, out);
      print_pattern(node, out);
      break;
  }
}

}  // namespace

std::string to_string(const Expr& expr) {
  std::string out;
  print(expr.node(), out);
  return out;
}

}  // namespace taskvec::edit
