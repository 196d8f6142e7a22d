#pragma once

#include <string_view>

namespace taskvec {

/// The version of this build; CMake's project version is the one place it is written.
std::string_view version();

}  // namespace taskvec
