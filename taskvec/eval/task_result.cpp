#include "taskvec/eval/evaluate.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace taskvec::eval {

double TaskResult::samples_per_second() const { return static_cast<double>(accuracy.n) / std::max(seconds, 1e-9); }

nlohmann::json TaskResult::to_json() const {
  return {{"accuracy", accuracy.value()}, {"ci95", {accuracy.low(), accuracy.high()}},
          {"correct", accuracy.correct},  {"n", accuracy.n},
          {"split", data::name(split)},   {"samples_per_second", samples_per_second()}};
}

}  // namespace taskvec::eval
