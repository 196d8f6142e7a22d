#pragma once

#include <string>
#include <vector>

namespace taskvec::kernels {

/// The SIMD level that kernels run at, e.g. "AVX2": the best that the CPU has, or the one that TASKVEC_SIMD names.
/// @throws Error{InvalidArgument} when TASKVEC_SIMD names a level that this build or CPU lacks; the message lists those there
/// are.
std::string simd_level();
/// Makes kernels heed TASKVEC_SIMD; each calls it first. Cheap: only the first call asks the CPU. @throws as simd_level()
inline void use_simd_level() { static const std::string level = simd_level(); }
/// All levels that this build and CPU support, best first.
std::vector<std::string> simd_levels();
/// Forces a level in this process ("" restores the default); for tests.
void set_simd_level(const std::string& level);

}  // namespace taskvec::kernels
