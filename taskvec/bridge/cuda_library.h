#pragma once

#include <filesystem>
#include <string>

namespace taskvec::bridge {

/// Loads libtorch's CUDA half, which nothing links: it registers itself with the CPU half, which asks for it once and remembers
/// the answer, so this comes before the first question about CUDA.
/// @param folder  libtorch's
/// @returns why it cannot be loaded and what helps; "" where it is there now
std::string load_cuda_library(const std::filesystem::path& folder);

/// The folder of the libtorch that runs.
std::filesystem::path libtorch_folder();

/// Why the NVIDIA driver offers no card, in its own words or the loader's; "" where it offers one.
/// @param library  the driver's
std::string driver_trouble(const char* library = "libcuda.so.1");

}  // namespace taskvec::bridge
