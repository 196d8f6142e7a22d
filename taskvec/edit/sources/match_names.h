#pragma once

#include "taskvec/edit/expression/expr.h"
#include "taskvec/edit/sources/bindings.h"

namespace taskvec::edit {

/// Brings the sources of an expression under the names of its base (options.base, else the first that is a model).
/// @param map  "auto", or the one name map to try, as in formats::name_maps()
/// @return     source name -> map, of the sources that were changed
/// @throws Error{InvalidArgument} when a map was named and it makes no source agree better with the base
std::map<std::string, std::string> match_names(const Expr& expr, Bindings& bindings, const std::string& base,
                                               std::string_view map);

}  // namespace taskvec::edit
