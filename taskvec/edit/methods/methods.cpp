#include "taskvec/core/error.h"
#include "taskvec/edit/methods/method.h"
#include "taskvec/edit/methods/ties.h"

#include <algorithm>
#include <cmath>

namespace taskvec::edit {

const std::vector<Method>& methods() {
  static const std::vector<Method> all{kTies};
  return all;
}

const Method* find_method(std::string_view name) {
  const auto found = std::ranges::find(methods(), name, &Method::name);
  return found == methods().end() ? nullptr : &*found;
}

Settings::Settings(const std::vector<Parameter>& parameters, size_t arguments) : parameters_(&parameters), arguments_(arguments) {
  for (const Parameter& parameter : parameters) values_.emplace_back(parameter.of_argument ? arguments : 1, parameter.value);
}

size_t Settings::index(std::string_view name) const {
  return static_cast<size_t>(std::ranges::find(*parameters_, name, &Parameter::name) - parameters_->begin());
}

void Settings::set(std::string_view name, std::optional<size_t> argument, double value) {
  const Parameter& parameter = parameters_->at(index(name));
  if (parameter.words.empty() && !(value >= parameter.low && value <= parameter.high))
    fail(ErrorCode::InvalidArgument, "{} is {}; expected a number from {} to {}", name, value, parameter.low, parameter.high);
  auto& values = values_.at(index(name));
  if (argument) {
    values.at(*argument) = value;
  } else {
    std::ranges::fill(values, value);
  }
}

double Settings::operator()(std::string_view name, size_t argument) const {
  const auto& values = values_.at(index(name));
  return values.at(values.size() == 1 ? 0 : argument);
}

std::string_view Settings::word(std::string_view name) const {
  return parameters_->at(index(name)).words.at(static_cast<size_t>((*this)(name)));
}

}  // namespace taskvec::edit
