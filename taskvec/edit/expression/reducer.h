#pragma once

#include "taskvec/core/glob.h"
#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/expression/node.h"

#include <map>

namespace taskvec::edit {

/// Reduces one expression for many tensors. Tensors for which the same patterns match share a key, and with it their
/// coefficients.
class Reducer {
 public:
  explicit Reducer(Expr expr);

  const std::vector<std::string>& sources() const { return sources_; }  ///< in order of first appearance
  const std::vector<Glob>& patterns() const { return patterns_; }       ///< distinct ones

  /// For each pattern '1' when it matches `tensor_name`, else '0'.
  std::string key(std::string_view tensor_name) const;
  /// Which sources stand in a selected part of the expression, whatever their coefficients.
  std::vector<bool> participants(const std::string& key) const;
  /// A float64 coefficient per source, 0 where it cancels. @throws as reduce()
  std::vector<double> coefficients(const std::string& key, const CoefficientValues& values) const;

 private:
  Expr expr_;
  std::vector<std::string> sources_;
  std::vector<Glob> patterns_;
  std::map<std::string, size_t, std::less<>> source_index_, pattern_index_;
};

}  // namespace taskvec::edit
