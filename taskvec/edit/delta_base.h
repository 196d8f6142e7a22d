#pragma once

#include "taskvec/edit/plan.h"

#include <functional>

namespace taskvec::edit {

/// A task vector from a file (formats/delta.h) knows the fingerprint of its base. Where models stand beside it in an expression,
/// that base must be among them, unless the plan's any_base says otherwise.
/// @param fingerprint  of a source; asked only for models, and only where a task vector takes part
/// @throws Error{InvalidArgument} naming both fingerprints
void check_delta_bases(const Plan& plan, const std::function<std::string(size_t source)>& fingerprint);

}  // namespace taskvec::edit
