#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <fstream>

namespace taskvec {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;  // their shadow memory is larger than any limit
#else
inline constexpr bool kSanitized = false;
#endif

/// While it lives, the process can take so many bytes more of address space: std::bad_alloc where a file makes a parser want
/// more. Mapped files count.
class MemoryLimit {
 public:
  explicit MemoryLimit(uint64_t bytes) {
    if (kSanitized) return;
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit limit = before_;
    limit.rlim_cur = pages * 4096 + bytes;
    ::setrlimit(RLIMIT_AS, &limit);
  }
  ~MemoryLimit() {
    if (!kSanitized) ::setrlimit(RLIMIT_AS, &before_);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace taskvec
