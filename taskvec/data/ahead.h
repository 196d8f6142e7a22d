#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <utility>

namespace taskvec::data {

/// Calls make(i) for every i in [begin, end) once and in order, one ahead of what next() has given: a device computes with one
/// batch while another thread decodes the next. Where nothing computes elsewhere, make() runs when its result is asked for.
template <class T>
class Ahead {
 public:
  /// Lifetime: what `make` refers to outlives this.
  Ahead(int64_t begin, int64_t end, bool in_background, std::function<T(int64_t)> make)
      : make_(std::move(make)), next_(begin), end_(end), policy_(in_background ? std::launch::async : std::launch::deferred) {
    start();
  }

  /// @throws what make() threw
  T next() {
    T result = made_.get();
    start();
    return result;
  }

 private:
  void start() {
    if (next_ < end_) made_ = std::async(policy_, [this, i = next_++] { return make_(i); });
  }

  std::function<T(int64_t)> make_;
  int64_t next_, end_;
  std::launch policy_;
  std::future<T> made_;  // the last member: its thread ends before the others go
};

}  // namespace taskvec::data
