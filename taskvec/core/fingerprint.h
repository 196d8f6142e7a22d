#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace taskvec {

/// XXH3-128 of a byte sequence as 32 lower-case hex digits. Detects change, not malice.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  Fingerprint(const Fingerprint&) = delete;
  Fingerprint& operator=(const Fingerprint&) = delete;
  Fingerprint& update(std::span<const std::byte> bytes);
  Fingerprint& update(std::string_view text);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string fingerprint(std::span<const std::byte> bytes);
std::string fingerprint(std::string_view text);

}  // namespace taskvec
