#include "taskvec/bridge/errors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace taskvec::bridge {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// What a user reads of the c10::Error that a function throws.
std::string told(const std::function<void()>& function) {
  try {
    function();
  } catch (const c10::Error& error) {
    EXPECT_EQ(as_error(error).code(), ErrorCode::Io);
    return as_error(error).what();
  }
  return "nothing was thrown";
}

TEST(Errors, OfLibtorchAreTheirFirstLine) {
  EXPECT_EQ(told([] { TORCH_CHECK(false, "the shapes differ.\nframe #0: somewhere\nframe #1: else"); }),
            "libtorch: the shapes differ");
  const std::string product = told([] { at::mm(at::zeros({2, 3}), at::zeros({2, 3})); });
  EXPECT_THAT(product, AllOf(StartsWith("libtorch: "), HasSubstr("2x3"), Not(HasSubstr("frame #")), Not(HasSubstr("\n"))));
}

TEST(Errors, OfAGpuWithoutMemorySayWhatToLower) {
  EXPECT_EQ(told([] {
              TORCH_CHECK_WITH(OutOfMemoryError, false,
                               "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 is full.\nframe #0: x");
            }),
            "memory ran out: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 is full; lower --batch (of ntk: --memory, "
            "--samples), or end what else uses that device");
}

TEST(Errors, OfMemoryThatTheCpuLacksSayWhatToLower) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "its allocator ends the program instead";
#endif
  // 2^62 bytes are beyond any address space: the allocator is refused, whatever the machine.
  EXPECT_THAT(told([] { at::empty({int64_t{1} << 62}, at::kByte); }),
              AllOf(StartsWith("memory ran out: "), HasSubstr("4611686018427387904 bytes"), HasSubstr("lower --batch")));
}

}  // namespace
}  // namespace taskvec::bridge
