#include "taskvec/bridge/device.h"

#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace taskvec::bridge {
namespace {

TEST(Device, Cpu) { EXPECT_TRUE(parse_device("cpu").is_cpu()); }

TEST(Device, UnknownNames) {
  for (const char* text : {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cpu:0"}) {
    try {
      parse_device(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
      EXPECT_EQ(error.what(), "unknown device '" + std::string(text) + "': expected cpu, cuda or cuda:N");
    }
  }
}

TEST(Device, CudaSaysWhyNot) {
  try {
    const at::Device device = parse_device("cuda:999");
    ADD_FAILURE() << device.str();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    EXPECT_NE(std::string(error.what()).find("device 'cuda:999'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("use --device cpu"), std::string::npos) << error.what();
  }
}

TEST(Device, TorchUsesOurThreads) {
  set_thread_count(2);
  configure_torch();
  EXPECT_EQ(at::get_num_threads(), 2);
  set_thread_count(0);
  configure_torch();
  EXPECT_EQ(at::get_num_threads(), thread_count());
}

}  // namespace
}  // namespace taskvec::bridge
