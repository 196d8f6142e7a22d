#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace taskvec {

/// Shell-style pattern over tensor names: `*` any run of characters, `?` one, `[a-c]` and `[!x]` a class, `{a,b}` alternatives.
/// @throws Error{InvalidArgument} on construction when brackets or braces do not close.
class Glob {
 public:
  explicit Glob(std::string_view pattern);
  bool matches(std::string_view name) const;
  const std::string& pattern() const { return pattern_; }

 private:
  std::string pattern_;
  std::vector<std::string> alternatives_;  // without braces
};

}  // namespace taskvec
