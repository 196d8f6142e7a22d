#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

/// Expected outputs of other people's programs, beside the checkout or where $TASKVEC_GOLDEN says.
namespace taskvec::golden {

inline std::filesystem::path folder() {
  const char* set = std::getenv("TASKVEC_GOLDEN");
  return set != nullptr ? std::filesystem::path(set) : std::filesystem::path(TASKVEC_SOURCE_DIR) / "../shared/golden";
}

/// Whether a case that is missing is a mistake: the checkout's own folder is whole, another one may hold some cases only.
inline bool is_whole() { return std::getenv("TASKVEC_GOLDEN") == nullptr && std::filesystem::exists(folder()); }

}  // namespace taskvec::golden

/// Ends a test that has nothing to compare with: skipped where there is no golden folder, failed where there is one.
#define TASKVEC_NO_GOLDEN(what)                                                                             \
  do {                                                                                                      \
    if (taskvec::golden::is_whole()) FAIL() << taskvec::golden::folder() << " is there, but no " << (what); \
    GTEST_SKIP() << "no " << (what) << " in " << taskvec::golden::folder() << "; set TASKVEC_GOLDEN";       \
  } while (false)
