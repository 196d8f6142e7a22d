#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taskvec::edit {

/// A named number of a call, as in `density=0.2`; or one of some words, as in `semantics=mergekit`, whose value is its position.
struct Parameter {
  std::string_view name;
  double value = 0;  ///< where the call does not say
  double low = 0, high = 1;
  std::vector<std::string_view> words{};
  bool of_argument = false;  ///< may also be given for one argument alone, as in `density2=0.5` for the second
};

/// What a call was asked, with a value for every parameter.
class Settings {
 public:
  Settings(const std::vector<Parameter>& parameters, size_t arguments);

  /// Of all arguments, or of one. @param argument  from 0
  void set(std::string_view name, std::optional<size_t> argument, double value);
  double operator()(std::string_view name, size_t argument = 0) const;
  /// The word that was chosen.
  std::string_view word(std::string_view name) const;
  size_t arguments() const { return arguments_; }
  bool operator==(const Settings&) const = default;

 private:
  size_t index(std::string_view name) const;

  const std::vector<Parameter>* parameters_;
  size_t arguments_;
  std::vector<std::vector<double>> values_;  // per parameter and argument
};

/// Elements of the arguments of a call: [first, first + n) of a tensor of its scope.
struct Slice {
  size_t tensor;  ///< position in the scope
  int64_t first;
  std::span<const std::span<const float>> arguments;  ///< n values each
};

/// A call over one scope, which is a tensor or the whole model: first what it has to know of the arguments as a whole, in as many
/// passes over them as that takes, then its value element by element. Threads: parts of a pass may be added, and values be made,
/// by any number of threads; the result does not depend on how many.
class Merge {
 public:
  virtual ~Merge() = default;

  /// Whether the arguments have to be read (once more) before values can be made.
  virtual bool needs_pass() const { return false; }
  /// Whether the pass is to look at a share of the elements only.
  virtual bool samples() const { return false; }
  /// What one thread finds in some parts of a pass.
  class Findings {
   public:
    virtual ~Findings() = default;
    virtual void add(const Slice& slice) = 0;
  };
  virtual std::unique_ptr<Findings> findings() const { return nullptr; }
  virtual void take(const Findings& findings) { (void)findings; }
  virtual void end_pass() {}

  /// @param slice  begins at a multiple of kPartAlignment elements
  virtual void values(const Slice& slice, std::span<float> out) const = 0;
};

/// Where parts may begin, in elements.
inline constexpr int64_t kPartAlignment = 4096;

/// A method that combines weights in another way than by a sum: an entry of methods().
struct Method {
  std::string_view name, summary;
  std::vector<Parameter> parameters;
  size_t least_arguments = 1;
  /// @throws Error{InvalidArgument} for settings that do not go together
  void (*check)(const Settings& settings);
  /// Whether one scope is the whole model, rather than each tensor.
  bool (*whole_model)(const Settings& settings);
  /// @param sizes  elements of the tensors of the scope
  std::unique_ptr<Merge> (*begin)(const Settings& settings, std::span<const int64_t> sizes);
};

/// All methods, by name.
const std::vector<Method>& methods();
/// nullptr where there is none of that name.
const Method* find_method(std::string_view name);

}  // namespace taskvec::edit
