#pragma once

#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/methods/method.h"

#include <cstdint>
#include <functional>

namespace taskvec::edit {

enum class NodeKind : uint8_t {
  Source,
  Number,
  Coefficient,
  Negate,
  Add,
  Subtract,
  Multiply,
  Divide,
  Interpolate,
  Select,
  Call,
  Word
};

/// One node of an expression. What it stands for is either weights or a number.
struct Node {
  NodeKind kind;
  std::string text{};                ///< name of a source, coefficient or method, pattern of a selection, a word
  std::vector<std::string> names{};  ///< of a call: of the parameters, whose values are the last operands
  double value = 0;                  ///< of a number
  bool inverted = false;             ///< of a selection: keep the names that do not match
  std::vector<std::shared_ptr<const Node>> children{};  ///< operands, left to right
  bool weights = false;                                 ///< some source takes part
  int32_t depth = 1;                                    ///< levels below and including this one
  int64_t size = 1;                                     ///< nodes below and including this one, shared ones counted every time
};

/// Calls visit(node) for every node, parents first, operands left to right.
template <typename Visit>
void walk(const Node& node, const Visit& visit) {
  visit(node);
  for (const auto& child : node.children) walk(*child, visit);
}

/// The parameters of a call. @param number  evaluates an operand. @throws Error{InvalidArgument} for one out of range
Settings settings_of(const Node& call, const std::function<double(const Node&)>& number);

/// Letters, digits and _, not starting with a digit: what sources and coefficients may be called.
bool is_identifier(std::string_view text);

}  // namespace taskvec::edit
