#pragma once

#include <ATen/ATen.h>

#include <string_view>

namespace taskvec::bridge {

/// "cpu", "cuda", "cuda:1". @throws Error{Unsupported} saying why when there is no such device or libtorch was built without it.
at::Device parse_device(std::string_view text);

/// Sets libtorch's intra-op threads to taskvec::thread_count() (its default can be 1), flushes denormals, and makes
/// float32 results independent of earlier calls (deterministic algorithms where there is a choice).
void configure_torch();

}  // namespace taskvec::bridge
