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
  const std::vector<Expr>& calls() const { return calls_; }  ///< distinct ones, the inner ones first

  /// A float64 coefficient per atom: the sources, then the calls; 0 where it cancels. @throws as reduce()
  std::vector<double> coefficients(const std::string& key, const CoefficientValues& values) const;

  /// What a call is made of for the tensors of a key: coefficients per atom for each argument.
  struct CallForm {
    Settings settings;
    std::vector<std::vector<double>> arguments;
    bool operator==(const CallForm&) const = default;
  };
  CallForm call(size_t index, const std::string& key, const CoefficientValues& values) const;

 private:
  void find_calls(const std::shared_ptr<const Node>& node);
  void check_finite(const std::vector<double>& atoms) const;

  Expr expr_;
  std::vector<std::string> sources_;
  std::vector<Expr> calls_;
  std::vector<Glob> patterns_;
  std::map<std::string, size_t, std::less<>> source_index_, pattern_index_;
};

}  // namespace taskvec::edit
