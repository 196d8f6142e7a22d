#pragma once

#include <ATen/ATen.h>

#include <string_view>

namespace taskvec::bridge {

/// "cpu", "cuda", "cuda:1"; for the latter libtorch's CUDA half is loaded.
/// @throws Error{InvalidArgument} for another text, Error{Unsupported} saying why and what helps where there is no such device: a
/// libtorch for CPUs alone, libraries that are missing, no driver or card, fewer cards
at::Device parse_device(std::string_view text);

/// Sets libtorch's intra-op threads to taskvec::thread_count() (its default can be 1), flushes denormals, and makes
/// float32 results independent of earlier calls (deterministic algorithms where there is a choice).
void configure_torch();

}  // namespace taskvec::bridge
