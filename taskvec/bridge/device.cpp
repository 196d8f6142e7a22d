#include "taskvec/bridge/device.h"

#include "taskvec/bridge/cuda_library.h"
#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <charconv>
#include <cstdlib>

namespace taskvec::bridge {

at::Device parse_device(std::string_view text) {
  if (text == "cpu") return at::Device(at::kCPU);
  const bool indexed = text.starts_with("cuda:");
  int index = 0;
  if (indexed) {
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index < 0) index = -1;
  }
  if ((!indexed && text != "cuda") || index < 0) {
    fail(ErrorCode::InvalidArgument, "unknown device '{}': expected cpu, cuda or cuda:N", text);
  }
  const auto refuse = [&](const std::string& why) {
    fail(ErrorCode::Unsupported, "device '{}': {}; or use --device cpu", text, why);
  };
  // Matrix products that have the same bits in every run need a workspace of a fixed size, said before the first of them.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  if (const std::string why = load_cuda_library(libtorch_folder()); !why.empty()) refuse(why);
  if (!at::hasCUDA()) {
    const std::string why = driver_trouble();
    refuse(why.empty() ? "libtorch finds no CUDA device, though the driver does; is the driver older than this libtorch needs?"
                       : why);
  }
  const int count = at::detail::getCUDAHooks().deviceCount();
  if (index >= count) {
    fail(ErrorCode::Unsupported, "device '{}': this machine has {} CUDA device{}; use --device cpu", text, count,
         count == 1 ? "" : "s");
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

void configure_torch() {
  at::set_num_threads(thread_count());
  // Per thread, and inherited by the threads that libtorch starts from here on.
  at::globalContext().setFlushDenormal(true);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  // Else deterministic mode fills every fresh tensor with NaN, which costs a pass over memory and hides nothing here.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setFloat32MatmulPrecision("highest");
}

}  // namespace taskvec::bridge
