#pragma once

#include "taskvec/edit/executors/execute.h"

namespace taskvec::edit {

/// Writes a plan whose sources are all LoRA adapters as an adapter again: sum of c*s*B*A = [c*s*B, ...] * [A, ...], so ranks add
/// up, and with them the size. A is copied and B is rounded once, both to float32 unless the plan's options ask for another
/// dtype. Scales and coefficients go into B: alpha is the rank everywhere. The rest of adapter_config.json is the first source's.
/// @param output  a folder, written atomically: adapter_config.json and adapter_model.safetensors
/// @throws Error{InvalidArgument} naming the source that is no adapter, or the module in which two adapters do not fit together
Summary write_as_lora(const Plan& plan, const std::filesystem::path& output);

}  // namespace taskvec::edit
