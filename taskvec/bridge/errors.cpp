#include "taskvec/bridge/errors.h"

#include <fmt/format.h>

#include <string_view>

namespace taskvec::bridge {
namespace {

/// libtorch's own kind is for accelerators only; the CPU's allocator has a message.
bool is_out_of_memory(const c10::Error& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         error.msg().find("DefaultCPUAllocator: can't allocate memory") != std::string::npos ||
         error.msg().find("DefaultCPUAllocator: not enough memory") != std::string::npos;
}

std::string_view first_line(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  while (text.ends_with(' ') || text.ends_with('.')) text.remove_suffix(1);
  return text;
}

}  // namespace

Error as_error(const c10::Error& error) {
  const std::string_view line = first_line(error.msg());
  if (!is_out_of_memory(error)) return {ErrorCode::Io, fmt::format("libtorch: {}", line)};
  return {
      ErrorCode::Io,
      fmt::format("memory ran out: {}; lower --batch (of ntk: --memory, --samples), or end what else uses that device", line)};
}

}  // namespace taskvec::bridge
