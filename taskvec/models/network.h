#pragma once

#include "taskvec/bridge/params.h"

#include <string>
#include <vector>

namespace taskvec::models {

/// A parameter that a network reads.
struct ParamInfo {
  std::string name;  ///< Hugging Face name
  Shape shape;
  int layer = -1;     ///< block index, -1 outside the blocks
  std::string tower;  ///< "vision", "text" or "" (shared, e.g. logit_scale)
};

/// What a network expects of its parameters.
struct ParamSpec {
  std::vector<ParamInfo> params;

  /// Names, shapes and float dtypes of `params` against this; tensors that are in `params` only are ignored.
  /// @throws Error{Format} naming `origin` (a path), tensor, expected, got, and the nearest name when one is missing.
  void check(const bridge::Params& params, std::string_view origin) const;
};

}  // namespace taskvec::models
