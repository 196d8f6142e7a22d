#include "taskvec/core/error.h"
#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/expression/node.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace taskvec::edit {
namespace {

constexpr size_t kMaxLength = 65536;
constexpr int kMaxNesting = 200;

/// The text around `position` and a caret under it, at most 76 columns wide.
std::string with_caret(std::string_view text, size_t position) {
  constexpr size_t kWidth = 72, kBefore = 48;
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  size_t begin = position > kBefore ? position - kBefore : 0;
  size_t end = std::min(text.size(), begin + kWidth);
  while (begin > 0 && continues(text[begin])) --begin;
  while (end < text.size() && continues(text[end])) ++end;
  std::string line;
  for (const char c : text.substr(begin, end - begin)) line += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  size_t column = 0;
  for (size_t i = begin; i < position; ++i) column += continues(text[i]) ? 0 : 1;
  return fmt::format("  {}\n  {}^", line, std::string(column, ' '));
}

/// What to say to a function that there is not: the way to write it, where there is one.
std::string no_function(std::string_view name) {
  struct Method {
    std::string_view name, instead;
  };
  constexpr std::string_view kNone = "";
  constexpr Method kMethods[] = {{"linear", "write the weighted sum, as in 0.5*a + 0.5*b"},
                                 {"task_arithmetic", "write the sum, as in base + 0.3*(a - base) + 0.3*(b - base)"},
                                 {"lerp", "it is interpolate(a, b, t)"},
                                 {"passthrough", "write the source's name"},
                                 {"dare", kNone},
                                 {"dare_ties", kNone},
                                 {"dare_linear", kNone},
                                 {"della", kNone},
                                 {"della_linear", kNone},
                                 {"slerp", kNone},
                                 {"nuslerp", kNone},
                                 {"multislerp", kNone},
                                 {"breadcrumbs", kNone},
                                 {"breadcrumbs_ties", kNone},
                                 {"model_stock", kNone},
                                 {"karcher", kNone},
                                 {"sce", kNone},
                                 {"arcee_fusion", kNone},
                                 {"nearswap", kNone}};
  for (const Method& method : kMethods) {
    if (method.name != name) continue;
    return method.instead.empty()
               ? fmt::format(
                     "{} is a merge method that expressions do not have yet; they have + - * /, interpolate(a, b, t), "
                     "ties(a - base, ...) and @ \"pattern\", e.g. base + 0.3*(a - base) + 0.3*(b - base)",
                     name)
               : fmt::format("{} is no function here: {}", name, method.instead);
  }
  std::vector<std::string> known{"interpolate"};
  for (const edit::Method& method : methods()) known.emplace_back(method.name);
  return fmt::format("'{}' is no function; there are {}{}", name, fmt::join(known, ", "), did_you_mean(name, known));
}

/// Recursive descent:
///     sum := term (('+' | '-') term)*          term := product ('@' '!'? string)*
///     product := unary (('*' | '/') unary)*    unary := ('-' | '+') unary | primary
///     primary := number | source | '$' name | 'interpolate' '(' sum ',' sum ',' sum ')' | '(' sum ')'
///              | method '(' sum (',' sum)* (',' name '=' (word | sum))* ')'
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Expr parse_all() {
    Expr result = parse_sum();
    if (peek() != '\0' || at_ < text_.size()) {
      if (peek() == ')') error_here("')' without '('");
      error_here("expected an operator: + - * / @");
    }
    if (!result.node().weights) fail(ErrorCode::InvalidArgument, "the expression has no source: '{}' is only a number", text_);
    return result;
  }

 private:
  [[noreturn]] void error_at(size_t position, std::string_view what) const {
    fail(ErrorCode::InvalidArgument, "{}\n{}", what, with_caret(text_, position));
  }
  [[noreturn]] void error_here(std::string_view what) {
    peek();
    error_at(at_, what);
  }

  /// The next character that is no space, or '\0' at the end.
  char peek() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool accept(char c) {
    if (peek() != c || c == '\0') return false;
    ++at_;
    return true;
  }

  /// Runs a builder; what it objects to gets a caret under the operator.
  template <typename Build>
  Expr build(size_t position, const Build& make) const {
    try {
      return make();
    } catch (const Error& error) {
      error_at(position, error.what());
    }
  }

  Expr parse_sum() {
    Expr left = parse_term();
    while (true) {
      peek();
      const size_t position = at_;
      if (accept('+')) {
        const Expr right = parse_term();
        left = build(position, [&] { return left + right; });
      } else if (accept('-')) {
        const Expr right = parse_term();
        left = build(position, [&] { return left - right; });
      } else {
        return left;
      }
    }
  }

  Expr parse_term() {
    Expr term = parse_product();
    while (accept('@')) {
      const bool inverted = accept('!');
      peek();
      const size_t position = at_;
      std::string pattern = parse_string();
      term = build(position, [&] { return select(term, std::move(pattern), inverted); });
    }
    return term;
  }

  Expr parse_product() {
    Expr left = parse_unary();
    while (true) {
      peek();
      const size_t position = at_;
      if (accept('*')) {
        const Expr right = parse_unary();
        left = build(position, [&] { return left * right; });
      } else if (accept('/')) {
        const Expr right = parse_unary();
        left = build(position, [&] { return left / right; });
      } else {
        const char c = peek();
        if (c == '(' || c == '$' || c == '.' || c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0)
          error_here("expected an operator; products are written with *, as in 0.4*(ft - base)");
        return left;
      }
    }
  }

  Expr parse_unary() {
    const Nested nested(*this);
    peek();
    const size_t position = at_;
    if (accept('+')) return parse_unary();
    if (accept('-')) {
      const Expr operand = parse_unary();
      return build(position, [&] { return -operand; });
    }
    return parse_primary();
  }

  Expr parse_primary() {
    const char c = peek();
    const size_t position = at_;
    if (accept('(')) {
      Expr inner = parse_sum();
      if (!accept(')')) error_at(position, "this '(' is never closed");
      return inner;
    }
    if (accept('$')) {
      const std::string_view name = parse_name();
      if (name.empty()) error_at(position, "expected a coefficient's name after '$', as in $x");
      return coefficient(std::string(name));
    }
    if ((c >= '0' && c <= '9') || c == '.') return parse_number();
    const std::string_view name = parse_name();
    if (name.empty()) error_here("expected a source, a number, a $coefficient or '('");
    if (peek() != '(') return source(std::string(name));
    if (name == "interpolate") return parse_interpolate(position);
    if (find_method(name) == nullptr) error_at(position, no_function(name));
    return parse_call(position, std::string(name));
  }

  Expr parse_call(size_t position, std::string method) {
    std::vector<Expr> arguments;
    std::vector<std::pair<std::string, Expr>> parameters;
    accept('(');
    do {
      peek();
      const size_t begin = at_;
      std::string name(parse_name());
      if (!name.empty() && accept('=')) {
        peek();
        const size_t value = at_;
        const std::string text(parse_name());
        const char next = peek();
        if (!text.empty() && (next == ',' || next == ')')) {
          parameters.emplace_back(std::move(name), word(text));
        } else {
          at_ = value;
          parameters.emplace_back(std::move(name), parse_sum());
        }
        continue;
      }
      at_ = begin;
      if (!parameters.empty()) error_here("weights come before parameters: method(weights, ..., name=value, ...)");
      arguments.push_back(parse_sum());
    } while (accept(','));
    if (!accept(')')) error_here(fmt::format("expected ',' or ')' in the call of {}", method));
    return build(position, [&] { return call(std::move(method), arguments, parameters); });
  }

  Expr parse_interpolate(size_t position) {
    const auto separate = [&](char c) {
      if (!accept(c)) error_here(fmt::format("expected '{}': interpolate takes three arguments, (a, b, t)", c));
    };
    separate('(');
    const Expr a = parse_sum();
    separate(',');
    const Expr b = parse_sum();
    separate(',');
    const Expr t = parse_sum();
    separate(')');
    return build(position, [&] { return interpolate(a, b, t); });
  }

  std::string_view parse_name() {
    size_t end = at_;
    while (end < text_.size() && is_identifier(text_.substr(at_, end + 1 - at_))) ++end;
    const std::string_view name = text_.substr(at_, end - at_);
    at_ = end;
    return name;
  }

  Expr parse_number() {
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error == std::errc::result_out_of_range) error_here("this number does not fit into float64");
    if (error != std::errc{}) error_here("expected a number");
    at_ = static_cast<size_t>(end - text_.data());
    return number(value);
  }

  std::string parse_string() {
    const char quote = peek();
    const size_t position = at_;
    if (quote != '"' && quote != '\'') error_here("expected a pattern in quotes after @, as in @ \"vision_model.*\"");
    std::string result;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == quote) {
        ++at_;
        return result;
      }
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      result += text_[at_];
    }
    error_at(position, "this quote is never closed");
  }

  /// Bounds the parser's own recursion.
  struct Nested {
    explicit Nested(Parser& owner) : parser(owner) {
      if (++parser.nesting_ > kMaxNesting) parser.error_here(fmt::format("nested deeper than {} levels", kMaxNesting));
    }
    ~Nested() { --parser.nesting_; }
    Parser& parser;
  };

  std::string_view text_;
  size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace

Expr parse(std::string_view text) {
  if (text.size() > kMaxLength)
    fail(ErrorCode::InvalidArgument, "the expression has {} characters; at most {} are allowed", text.size(), kMaxLength);
  return Parser(text).parse_all();
}

}  // namespace taskvec::edit
