#include "taskvec/bridge/precision.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace taskvec::bridge {
namespace {

using testing::HasSubstr;

TEST(PrecisionNames, AreThoseOfDtypesToo) {
  for (const char* text : {"float32", "F32"}) EXPECT_EQ(parse_precision(text), Precision::Float32) << text;
  for (const char* text : {"bf16", "BF16", "bfloat16"}) EXPECT_EQ(parse_precision(text), Precision::Bf16) << text;
  EXPECT_EQ(parse_precision("tf32"), Precision::Tf32);
  for (const Precision precision : {Precision::Float32, Precision::Tf32, Precision::Bf16})
    EXPECT_EQ(parse_precision(name(precision)), precision);
  for (const char* text : {"", "fp16", "F16", "float64", "tf"})
    EXPECT_THAT(message_of([&] { parse_precision(text); }), HasSubstr("expected float32, tf32 or bf16")) << text;
}

TEST(PrecisionOfTheProcess, IsSetAndTakenBack) {
  use_precision(Precision::Tf32, at::Device(at::kCUDA, 0));
  EXPECT_TRUE(at::globalContext().allowTF32CuBLAS());
  use_precision(Precision::Bf16, at::Device(at::kCPU));
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_THAT(message_of([] { use_precision(Precision::Tf32, at::Device(at::kCPU)); }),
              HasSubstr("by NVIDIA cards alone; on cpu choose float32 or bf16"));
}

}  // namespace
}  // namespace taskvec::bridge
