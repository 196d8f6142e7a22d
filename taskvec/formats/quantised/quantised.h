#pragma once

#include "taskvec/formats/checkpoint.h"

namespace taskvec::formats {

/// The checkpoint with its codes read as the F32 values that they stand for, under the names and shapes of the network's weights:
/// 8-bit floats and integers with scales, bitsandbytes' NF4, FP4 and int8, GPTQ and AWQ of 2, 4 and 8 bits. Scales, zero points
/// and what else belongs to the codes are no tensors of it. A checkpoint without codes is returned as it is; one with codes of
/// another kind says so in Manifest::codes, and can be copied only (check_plain()).
/// @throws Error{Format} naming the tensors where codes and scales do not fit
std::shared_ptr<const Checkpoint> dequantised(std::shared_ptr<const Checkpoint> checkpoint);

/// @throws Error{Unsupported} naming the codes where taskvec cannot read a checkpoint's values: before anything is computed of it
/// @param label  how the message calls the checkpoint
void check_plain(const Checkpoint& checkpoint, std::string_view label);

}  // namespace taskvec::formats
