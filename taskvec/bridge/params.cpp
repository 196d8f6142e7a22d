#include "taskvec/bridge/params.h"

#include "taskvec/core/error.h"

namespace taskvec::bridge {

void Params::add(std::string name, at::Tensor tensor) {
  if (!index_.emplace(name, entries_.size()).second) {
    fail(ErrorCode::InvalidArgument, "parameter '{}' is there already; use set() to replace it", name);
  }
  entries_.emplace_back(std::move(name), std::move(tensor));
}

void Params::set(std::string_view name, at::Tensor tensor) {
  const auto found = index_.find(name);
  if (found == index_.end()) return add(std::string(name), std::move(tensor));
  entries_[found->second].second = std::move(tensor);
}

const at::Tensor* Params::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

const at::Tensor& Params::at(std::string_view name) const {
  if (const at::Tensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const Entry& entry : entries_) names.push_back(entry.first);
  fail(ErrorCode::NotFound, "no parameter '{}' among {}{}", name, size(), did_you_mean(name, names));
}

Params Params::map(const std::function<at::Tensor(const std::string&, const at::Tensor&)>& f) const {
  Params result;
  for (const auto& [name, tensor] : entries_) result.add(name, f(name, tensor));
  return result;
}

Params Params::filter(const std::function<bool(const std::string&)>& keep) const {
  Params result;
  for (const auto& [name, tensor] : entries_) {
    if (keep(name)) result.add(name, tensor);
  }
  return result;
}

}  // namespace taskvec::bridge
