#include "taskvec/bridge/device.h"

#include "taskvec/bridge/cuda_library.h"
#include "taskvec/core/error.h"
#include "taskvec/core/parallel.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace taskvec::bridge {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

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

TEST(Device, ACardThatIsNotThereSaysWhyAndWhatHelps) {
  try {
    const at::Device device = parse_device("cuda:99");
    ADD_FAILURE() << device.str();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    const std::string message = error.what();
    EXPECT_THAT(message, StartsWith("device 'cuda:99': "));
    EXPECT_THAT(message, EndsWith("use --device cpu"));
    const bool cuda_build = std::filesystem::exists(libtorch_folder() / "libtorch_cuda.so");
    EXPECT_EQ(message.find("is a build for CPUs alone") == std::string::npos, cuda_build) << message;
  }
}

/// A folder that stands in for libtorch's.
class LibraryForCuda : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "cuda_library.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_F(LibraryForCuda, MissingIsABuildForCpus) {
  EXPECT_EQ(load_cuda_library(folder_),
            "the libtorch in " + folder_.string() +
                " is a build for CPUs alone (no libtorch_cuda.so); `tools/setup --cuda` says how to get another");
}

TEST_F(LibraryForCuda, UnloadableIsToldInTheLoadersWords) {
  std::ofstream(folder_ / "libtorch_cuda.so") << "no library";
  const std::string why = load_cuda_library(folder_);
  EXPECT_THAT(why, StartsWith("libtorch's CUDA half cannot be loaded: " + (folder_ / "libtorch_cuda.so").string() + ": "));
  EXPECT_THAT(why, HasSubstr("file too short"));
  EXPECT_THAT(why, EndsWith("; `tools/setup --cuda` installs what it needs"));
}

TEST_F(LibraryForCuda, LoadableIsLoaded) {
  // Any library does: libc10 lies beside the libtorch that runs.
  std::filesystem::create_symlink(libtorch_folder() / "libc10.so", folder_ / "libtorch_cuda.so");
  EXPECT_EQ(load_cuda_library(folder_), "");
}

TEST(Driver, MissingIsToldInTheLoadersWords) {
  EXPECT_EQ(driver_trouble("libnodriver.so.7"),
            "no NVIDIA driver is installed (libnodriver.so.7: cannot open shared object file: No such file or directory)");
}

TEST(Driver, AnotherLibraryIsNone) { EXPECT_EQ(driver_trouble("libm.so.6"), "libm.so.6 is no NVIDIA driver (it has no cuInit)"); }

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
