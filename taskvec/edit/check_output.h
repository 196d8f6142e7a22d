#pragma once

#include "taskvec/edit/plan.h"

namespace taskvec::edit {

/// Replacing a source would lose what the output was made of.
/// @throws Error{InvalidArgument} naming the source when `output` is one or holds one
void check_output(const Plan& plan, const std::filesystem::path& output);

}  // namespace taskvec::edit
