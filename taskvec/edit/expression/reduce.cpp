#include "taskvec/core/error.h"
#include "taskvec/edit/expression/number_text.h"
#include "taskvec/edit/expression/reducer.h"

#include <algorithm>
#include <cmath>

namespace taskvec::edit {
namespace {

using Index = std::map<std::string, size_t, std::less<>>;

bool is_selected(const Node& node, const Index& pattern_index, const std::string& key) {
  return (key[pattern_index.find(node.text)->second] == '1') != node.inverted;
}

/// The expression's value for tensors of one key: numbers as such, weights as one coefficient per source.
struct Evaluation {
  const Index& source_index;
  const Index& pattern_index;
  const std::vector<Expr>& calls;
  const std::string& key;
  const CoefficientValues& values;

  bool selected(const Node& node) const { return is_selected(node, pattern_index, key); }

  double coefficient_value(const std::string& name) const {
    const auto found = values.find(name);
    if (found == values.end()) {
      std::vector<std::string> known;
      for (const auto& [other, value] : values) known.push_back(other);
      fail(ErrorCode::InvalidArgument, "coefficient ${} has no value{}; give one as {}=NUMBER", name, did_you_mean(name, known),
           name);
    }
    if (!std::isfinite(found->second))
      fail(ErrorCode::InvalidArgument, "coefficient ${} is {}; expected a finite number", name, found->second);
    return found->second;
  }

  double divisor(const Node& node) const {
    const double value = number(node);
    if (value == 0) fail(ErrorCode::InvalidArgument, "division by zero: {} is 0", to_string(Expr(std::make_shared<Node>(node))));
    return value;
  }

  double number(const Node& node) const {
    const auto child = [&](size_t i) { return number(*node.children[i]); };
    switch (node.kind) {
      case NodeKind::Number: return node.value;
      case NodeKind::Coefficient: return coefficient_value(node.text);
      case NodeKind::Negate: return -child(0);
      case NodeKind::Add: return child(0) + child(1);
      case NodeKind::Subtract: return child(0) - child(1);
      case NodeKind::Multiply: return child(0) * child(1);
      case NodeKind::Divide: return child(0) / divisor(*node.children[1]);
      case NodeKind::Interpolate: {
        const double t = child(2);
        return (1 - t) * child(0) + t * child(1);
      }
      case NodeKind::Select: return selected(node) ? child(0) : 0.0;
      case NodeKind::Source:
      case NodeKind::Call:
      case NodeKind::Word: break;
    }
    fail(ErrorCode::InvalidArgument, "weights where a number is needed: {}", node.text);
  }

  size_t atoms() const { return source_index.size() + calls.size(); }

  /// One coefficient per atom. Bottom up, so that a part of the expression means the same wherever it stands: in
  /// (a + a + a)/3 the sum is 3 before it is divided, and the result exactly 1.
  std::vector<double> weights(const Node& node) const {
    switch (node.kind) {
      case NodeKind::Source: {
        std::vector<double> out(atoms());
        out[source_index.find(node.text)->second] = 1;
        return out;
      }
      case NodeKind::Call: {
        std::vector<double> out(atoms());
        const auto found = std::ranges::find(calls, Expr(std::make_shared<Node>(node)));
        out[source_index.size() + static_cast<size_t>(found - calls.begin())] = 1;
        return out;
      }
      case NodeKind::Negate: return map(weights(*node.children[0]), [](double c) { return -c; });
      case NodeKind::Add: return zip(node, [](double a, double b) { return a + b; });
      case NodeKind::Subtract: return zip(node, [](double a, double b) { return a - b; });
      case NodeKind::Multiply: {
        const bool left = node.children[0]->weights;
        const double factor = number(*node.children[left ? 1 : 0]);
        return map(weights(*node.children[left ? 0 : 1]), [&](double c) { return c * factor; });
      }
      case NodeKind::Divide: {
        const double by = divisor(*node.children[1]);
        return map(weights(*node.children[0]), [&](double c) { return c / by; });
      }
      case NodeKind::Interpolate: {
        const double t = number(*node.children[2]);
        return zip(node, [&](double a, double b) { return (1 - t) * a + t * b; });
      }
      case NodeKind::Select: return selected(node) ? weights(*node.children[0]) : std::vector<double>(atoms());
      default: fail(ErrorCode::InvalidArgument, "a number where weights are needed");
    }
  }

  template <typename F>
  static std::vector<double> map(std::vector<double> values, const F& f) {
    for (auto& value : values) value = f(value);
    return values;
  }

  template <typename F>
  std::vector<double> zip(const Node& node, const F& f) const {
    std::vector<double> a = weights(*node.children[0]);
    const std::vector<double> b = weights(*node.children[1]);
    for (size_t i = 0; i < a.size(); ++i) a[i] = f(a[i], b[i]);
    return a;
  }
};

}  // namespace

Reducer::Reducer(Expr expr) : expr_(std::move(expr)), sources_(expr_.sources()) {
  for (size_t i = 0; i < sources_.size(); ++i) source_index_.emplace(sources_[i], i);
  walk(expr_.node(), [&](const Node& node) {
    if (node.kind == NodeKind::Select && pattern_index_.emplace(node.text, patterns_.size()).second)
      patterns_.emplace_back(node.text);
  });
  find_calls(expr_.shared());
}

void Reducer::find_calls(const std::shared_ptr<const Node>& node) {
  for (const auto& child : node->children) find_calls(child);
  if (node->kind == NodeKind::Call && std::ranges::find(calls_, Expr(node)) == calls_.end()) calls_.emplace_back(node);
}

std::string Reducer::key(std::string_view tensor_name) const {
  std::string key;
  for (const auto& pattern : patterns_) key += pattern.matches(tensor_name) ? '1' : '0';
  return key;
}

std::vector<bool> Reducer::participants(const std::string& key) const {
  std::vector<bool> out(sources_.size());
  const auto visit = [&](const auto& self, const Node& node) -> void {
    if (node.kind == NodeKind::Source) out[source_index_.find(node.text)->second] = true;
    if (node.kind == NodeKind::Select && !is_selected(node, pattern_index_, key)) return;
    for (const auto& child : node.children) self(self, *child);
  };
  visit(visit, expr_.node());
  return out;
}

void Reducer::check_finite(const std::vector<double>& atoms) const {
  for (size_t i = 0; i < atoms.size(); ++i) {
    if (!std::isfinite(atoms[i]))
      fail(ErrorCode::InvalidArgument, "the coefficient of {} comes to {}; expected a finite number",
           i < sources_.size() ? "source '" + sources_[i] + "'" : to_string(calls_[i - sources_.size()]), atoms[i]);
  }
}

std::vector<double> Reducer::coefficients(const std::string& key, const CoefficientValues& values) const {
  std::vector<double> out = Evaluation{source_index_, pattern_index_, calls_, key, values}.weights(expr_.node());
  check_finite(out);
  return out;
}

Reducer::CallForm Reducer::call(size_t index, const std::string& key, const CoefficientValues& values) const {
  const Node& node = calls_.at(index).node();
  const Evaluation evaluation{source_index_, pattern_index_, calls_, key, values};
  CallForm form{settings_of(node, [&](const Node& value) { return evaluation.number(value); }), {}};
  for (size_t i = 0; i < form.settings.arguments(); ++i) {
    form.arguments.push_back(evaluation.weights(*node.children[i]));
    check_finite(form.arguments.back());
  }
  return form;
}

std::vector<std::pair<std::string, double>> reduce(const Expr& expr, std::string_view tensor_name,
                                                   const CoefficientValues& values) {
  const Reducer reducer(expr);
  const std::vector<double> coefficients = reducer.coefficients(reducer.key(tensor_name), values);
  std::vector<std::pair<std::string, double>> out;
  for (size_t i = 0; i < reducer.sources().size(); ++i)
    if (coefficients[i] != 0) out.emplace_back(reducer.sources()[i], coefficients[i]);
  return out;
}

}  // namespace taskvec::edit
