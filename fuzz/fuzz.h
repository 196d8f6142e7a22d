#pragma once

#include "taskvec/core/error.h"
#include "taskvec/formats/checkpoint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace taskvec::fuzz {

/// The fuzzer's bytes as a file that has a name but lies on no disk.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Calls `parse`. An Error is what a bad file should give; anything else that is thrown is a finding.
template <typename Parse>
int expect_only_errors(Parse&& parse) {
  try {
    parse();
  } catch (const Error&) {
  }
  return 0;
}

/// Reads the first and the last bytes of every tensor, so that a wrong offset or stride shows.
inline void read_tensors(const formats::Checkpoint& checkpoint) {
  constexpr uint64_t kEnds = 4096;
  for (const auto& entry : checkpoint.manifest().tensors) {
    const auto nbytes = static_cast<uint64_t>(entry.info.nbytes());
    const uint64_t part = std::min(kEnds, nbytes);
    for (const uint64_t offset : {uint64_t{0}, nbytes - part}) {
      const formats::TensorRange range(checkpoint, entry, offset, part);
      volatile unsigned sum = 0;
      for (const std::byte byte : range.bytes()) sum = sum + static_cast<unsigned>(byte);
    }
  }
}

}  // namespace taskvec::fuzz
