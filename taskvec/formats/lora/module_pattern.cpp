#include "taskvec/formats/lora/module_pattern.h"

#include "taskvec/core/error.h"

#include <algorithm>

namespace taskvec::formats {
namespace {

using Characters = std::bitset<256>;

size_t code(char c) { return static_cast<unsigned char>(c); }

Characters range(char first, char last) {
  Characters set;
  for (size_t c = code(first); c <= code(last); ++c) set.set(c);
  return set;
}

/// Walks over one pattern; `fail_at` says what is wrong with it.
class Scanner {
 public:
  Scanner(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  bool done() const { return position_ == pattern_.size(); }
  char peek() const { return pattern_[position_]; }
  char next() {
    if (done()) refuse("ends too early");
    return pattern_[position_++];
  }
  bool take(char c) {
    if (done() || peek() != c) return false;
    ++position_;
    return true;
  }
  bool at_end_of_alternative() const { return done() || peek() == '|'; }

  Characters characters() {
    const char c = next();
    if (c == '.') return ~Characters{};
    if (c == '\\') return escape();
    if (c == '[') return bracket();
    if (std::string_view("(){}*+?^$]").find(c) != std::string_view::npos) refuse(fmt::format("uses '{}' in a way", c));
    return Characters{}.set(code(c));
  }

  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::Unsupported,
         "{}: pattern '{}' {} that taskvec does not read; characters, '.', escapes, classes, '* + ?' and '|' will do", where_,
         pattern_, what);
  }

 private:
  Characters escape() {
    const char c = next();
    const Characters digits = range('0', '9');
    if (c == 'd') return digits;
    if (c == 'w') return digits | range('a', 'z') | range('A', 'Z') | Characters{}.set(code('_'));
    if (digits[code(c)] || range('a', 'z')[code(c)] || range('A', 'Z')[code(c)]) refuse(fmt::format("uses '\\{}'", c));
    return Characters{}.set(code(c));
  }

  Characters bracket() {
    const bool inverted = take('^');
    Characters set;
    do {
      const char c = next();
      if (c == '\\') {
        set |= escape();
      } else if (position_ + 1 < pattern_.size() && peek() == '-' && pattern_[position_ + 1] != ']') {
        next();
        const char last = next();
        if (last == '\\' || code(last) < code(c)) refuse("holds a range");
        set |= range(c, last);
      } else {
        set.set(code(c));
      }
    } while (!take(']'));
    return inverted ? ~set : set;
  }

  std::string_view pattern_, where_;
  size_t position_ = 0;
};

}  // namespace

ModulePattern::ModulePattern(std::string_view pattern, std::string_view where) {
  Scanner scanner(pattern, where);
  do {
    Alternative& alternative = alternatives_.emplace_back();
    alternative.from_start = scanner.take('^');
    while (!scanner.at_end_of_alternative()) {
      if (scanner.take('$')) {
        if (!scanner.at_end_of_alternative()) scanner.refuse("uses '$' in a way");
        break;
      }
      Atom atom{.characters = scanner.characters()};
      if (scanner.take('*')) {
        atom.optional = atom.repeated = true;
      } else if (scanner.take('+')) {
        atom.repeated = true;
      } else if (scanner.take('?')) {
        atom.optional = true;
      }
      alternative.atoms.push_back(atom);
    }
  } while (scanner.take('|'));
}

bool ModulePattern::matches(std::string_view module) const {
  return std::any_of(alternatives_.begin(), alternatives_.end(), [&](const Alternative& alternative) {
    const auto& atoms = alternative.atoms;
    // reached[i]: the characters so far can be what the first i atoms match.
    std::vector<bool> reached(atoms.size() + 1), next(atoms.size() + 1);
    const auto skip_optional = [&](std::vector<bool>& states) {
      for (size_t i = 0; i < atoms.size(); ++i)
        if (states[i] && atoms[i].optional) states[i + 1] = true;
    };
    for (size_t position = 0; position <= module.size(); ++position) {
      const bool may_begin = position == 0 || (!alternative.from_start && module[position - 1] == '.');
      if (may_begin) reached[0] = true;
      skip_optional(reached);
      if (position == module.size()) break;
      next.assign(next.size(), false);
      for (size_t i = 0; i < atoms.size(); ++i) {
        if (!reached[i] || !atoms[i].characters[code(module[position])]) continue;
        next[i + 1] = true;
        if (atoms[i].repeated) next[i] = true;
      }
      reached.swap(next);
    }
    return static_cast<bool>(reached.back());
  });
}

}  // namespace taskvec::formats
