#include "taskvec/bridge/cuda_library.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <fmt/format.h>

namespace taskvec::bridge {
namespace {

std::string loader_says() {
  const char* words = ::dlerror();
  return words == nullptr ? "the loader says nothing" : words;
}

/// A function of the driver's, named as cuda.h names it; null where there is none.
template <typename Function>
Function* driver_function(void* driver, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(driver, name));
}

}  // namespace

std::filesystem::path libtorch_folder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) return {};
  return std::filesystem::path(info.dli_fname).parent_path();
}

std::string load_cuda_library(const std::filesystem::path& folder) {
  const std::filesystem::path library = folder / "libtorch_cuda.so";
  std::error_code error;
  if (!std::filesystem::exists(library, error)) {
    return fmt::format(
        "the libtorch in {} is a build for CPUs alone (no libtorch_cuda.so); `tools/setup --cuda` says how to get another",
        folder.string());
  }
  // For good: what it registers stays in use until the program ends. Global: its parts look for each other's symbols.
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return "";
  return fmt::format("libtorch's CUDA half cannot be loaded: {}; `tools/setup --cuda` installs what it needs", loader_says());
}

std::string driver_trouble(const char* library) {
  void* driver = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return fmt::format("no NVIDIA driver is installed ({})", loader_says());
  const auto init = driver_function<int(unsigned)>(driver, "cuInit");
  const auto count_devices = driver_function<int(int*)>(driver, "cuDeviceGetCount");
  const auto text_of = driver_function<int(int, const char**)>(driver, "cuGetErrorString");
  if (init == nullptr || count_devices == nullptr) return fmt::format("{} is no NVIDIA driver (it has no cuInit)", library);
  int count = 0;
  int status = init(0);
  if (status == 0) status = count_devices(&count);
  if (status == 0) return count > 0 ? "" : "the NVIDIA driver finds no card";
  const char* words = nullptr;
  if (text_of == nullptr || text_of(status, &words) != 0 || words == nullptr) words = "no explanation";
  return fmt::format("the NVIDIA driver offers no card: {} (CUDA error {})", words, status);
}

}  // namespace taskvec::bridge
