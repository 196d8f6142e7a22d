#pragma once

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::formats {

/// A key of PEFT's rank_pattern or alpha_pattern: a Python regular expression for the end of a module's name, beginning at the
/// start of the name or behind a dot, as in PEFT's get_pattern_key(). Understood are characters, `.`, `\.`, `\d`, `\w`, classes,
/// the quantifiers `* + ?`, a leading `^`, a final `$` and alternatives with `|`; matching takes time linear in the name.
class ModulePattern {
 public:
  /// @throws Error{Unsupported} naming `where`, the pattern and what it uses beyond that, e.g. groups
  ModulePattern(std::string_view pattern, std::string_view where);
  bool matches(std::string_view module) const;

 private:
  struct Atom {
    std::bitset<256> characters;
    bool optional = false, repeated = false;
  };
  struct Alternative {
    std::vector<Atom> atoms;
    bool from_start = false;
  };
  std::vector<Alternative> alternatives_;
};

}  // namespace taskvec::formats
