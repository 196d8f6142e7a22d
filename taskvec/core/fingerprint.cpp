#include "taskvec/core/fingerprint.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace taskvec {
namespace {

std::string to_hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

struct Fingerprint::State {
  XXH3_state_t* hash = XXH3_createState();
  State() {
    if (hash == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(hash);
  }
  ~State() { XXH3_freeState(hash); }
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {}
Fingerprint::~Fingerprint() = default;

Fingerprint& Fingerprint::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->hash, bytes.data(), bytes.size());
  return *this;
}

Fingerprint& Fingerprint::update(std::string_view text) { return update(std::as_bytes(std::span(text))); }

std::string Fingerprint::hex() const { return to_hex(XXH3_128bits_digest(state_->hash)); }

std::string fingerprint(std::span<const std::byte> bytes) { return to_hex(XXH3_128bits(bytes.data(), bytes.size())); }

std::string fingerprint(std::string_view text) { return fingerprint(std::as_bytes(std::span(text))); }

}  // namespace taskvec
