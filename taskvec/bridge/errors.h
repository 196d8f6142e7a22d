#pragma once

#include "taskvec/core/error.h"

#include <c10/util/Exception.h>

namespace taskvec::bridge {

/// What a failure inside libtorch says to a user: its first line, without the C++ stack that follows; of memory that ran out,
/// what was asked for and which options lower it. The code is Io: the machine would not, the input may be sound.
Error as_error(const c10::Error& error);

}  // namespace taskvec::bridge
