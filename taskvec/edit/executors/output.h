#pragma once

#include "taskvec/edit/plan.h"

namespace taskvec::edit {

/// Replacing a source would lose what the output was made of.
/// @throws Error{InvalidArgument} naming the source, as formats::check_not_a_source
void check_not_a_source(const Plan& plan, const std::filesystem::path& output);

/// Whether `output` is a lone .safetensors file rather than a folder of them.
/// @throws Error{InvalidArgument} for another format, which could not hold what the metadata must say
bool is_lone_safetensors(const std::filesystem::path& output);

}  // namespace taskvec::edit
