#include "taskvec/kernels/simd.h"

#include "taskvec/core/error.h"

#include <fmt/ranges.h>
#include <hwy/highway.h>

#include <cstdlib>

namespace taskvec::kernels {
namespace {

const char* target_name(int64_t target) { return hwy::TargetName(target); }

int64_t target_called(const std::string& level) {
  for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1)
    if (const int64_t target = targets & -targets; level == target_name(target)) return target;
  fail(ErrorCode::InvalidArgument, "there is no SIMD level '{}' here; this build and CPU have: {}", level,
       fmt::join(simd_levels(), ", "));
}

}  // namespace

std::vector<std::string> simd_levels() {
  hwy::SetSupportedTargetsForTest(0);
  std::vector<std::string> levels;
  for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1)
    levels.emplace_back(target_name(targets & -targets));  // the best has the lowest bit
  return levels;
}

void set_simd_level(const std::string& level) {
  hwy::SetSupportedTargetsForTest(0);
  if (!level.empty()) hwy::SetSupportedTargetsForTest(target_called(level));
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

std::string simd_level() {
  static const bool forced = [] {
    const char* level = std::getenv("TASKVEC_SIMD");
    if (level != nullptr && *level != '\0') set_simd_level(level);
    return true;
  }();
  static_cast<void>(forced);
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return target_name(targets & -targets);
}

}  // namespace taskvec::kernels
