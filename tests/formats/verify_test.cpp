#include "taskvec/formats/verify.h"

#include "tests/formats/file_test.h"

#include <cmath>
#include <limits>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class VerifyTest : public FileTest {
 protected:
  /// A folder of two shards, with tensor `a` in the first and `b` in the second.
  fs::path sharded() const {
    OutputLayout layout;
    layout.tensors = {{"a", {Dtype::F32, {4}}, 0}, {"b", {Dtype::F32, {4}}, 1}};
    return write(layout, "m");
  }
  static fs::path shard(const fs::path& folder, int number) {
    return folder / fmt::format("model-{:05}-of-00002.safetensors", number);
  }
};

TEST_F(VerifyTest, ASoundCheckpoint) {
  const fs::path folder = sharded();
  const auto found = verify(folder);
  EXPECT_TRUE(found.ok());
  EXPECT_EQ(found.format, "sharded safetensors");
  EXPECT_EQ(found.files.size(), 2U);
  EXPECT_EQ(found.nbytes(), 32);
  EXPECT_EQ(found.fingerprint, open(folder)->fingerprint());
}

TEST_F(VerifyTest, NanAndInfinityAreCountedPerTensor) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  OutputLayout layout;
  layout.tensors = {
      {"good", {Dtype::F32, {3}}}, {"bad", {Dtype::F32, {300000}}}, {"mask", {Dtype::BF16, {2}}}, {"n", {Dtype::I64, {1}}}};
  CheckpointWriter writer(folder_ / "x.safetensors", layout);
  std::vector<float> values(300000);
  values[0] = values[299999] = std::nanf("");
  values[150000] = kInf;
  writer.write(1, 0, std::as_bytes(std::span(values)));
  const uint16_t minus_infinity = 0xFF80;
  writer.write(2, 2, std::as_bytes(std::span(&minus_infinity, 1)));
  const int64_t all_ones = -1;
  writer.write(3, 0, std::as_bytes(std::span(&all_ones, 1)));
  writer.commit();
  const auto found = verify(folder_ / "x.safetensors");
  EXPECT_THAT(found.problems, ElementsAre("tensor 'bad' holds 2 NaN and 1 infinite elements",
                                          "tensor 'mask' holds 0 NaN and 1 infinite elements"));
  EXPECT_EQ(found.tensors[1].nan, 2);
  EXPECT_EQ(found.tensors[1].infinite, 1);
}

TEST_F(VerifyTest, ABrokenRuleIsAProblem) {
  const auto found = verify(write(raw(uint64_t{99}) + "{}", "x.safetensors"));
  EXPECT_THAT(found.problems, ElementsAre(HasSubstr("the header should have 99 bytes, but the file ends after 2")));
}

TEST_F(VerifyTest, WhatIsNotThereCannotBeRead) {
  EXPECT_THAT(message_of([&] { verify(folder_ / "nowhere"); }), HasSubstr("nowhere"));
}

TEST_F(VerifyTest, EveryDisagreementOfShardsAndIndexIsNamed) {
  const fs::path folder = sharded();
  const std::string index = R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors",
                                "c":"model-00002-of-00002.safetensors","d":"model-00003-of-00002.safetensors"}})";
  write_file_atomically(folder / "model.safetensors.index.json", index);
  fs::copy_file(shard(folder, 1), folder / "old.safetensors");
  const auto found = verify(folder);
  EXPECT_THAT(found.problems, ElementsAre(HasSubstr("says that tensor 'b' is in 'model-00001-of-00002.safetensors', but it is in "
                                                    "'model-00002-of-00002.safetensors'"),
                                          HasSubstr("names shard 'model-00003-of-00002.safetensors', but there is no such file"),
                                          HasSubstr("says that tensor 'c' is in"), HasSubstr("says that tensor 'd' is in"),
                                          HasSubstr("names no tensor of the file 'old.safetensors' beside it")));
  EXPECT_EQ(found.tensors.size(), 2U);
}

TEST_F(VerifyTest, DuplicatesUnlistedTensorsAndBrokenShardsAreNamed) {
  const fs::path folder = sharded();
  fs::copy_file(shard(folder, 1), shard(folder, 2), fs::copy_options::overwrite_existing);
  EXPECT_THAT(verify(folder).problems, ElementsAre(HasSubstr("tensor 'a' is in two shards"), HasSubstr("tensor 'b' is in")));

  write_file_atomically(folder / "model.safetensors.index.json",
                        R"({"weight_map":{"x":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  write_file_atomically(shard(folder, 2), "junk");
  EXPECT_THAT(verify(folder / "model.safetensors.index.json").problems,
              ElementsAre(HasSubstr("holds tensor 'a', which"), HasSubstr("4 bytes are too few for a safetensors file"),
                          HasSubstr("tensor 'b' is in"), HasSubstr("tensor 'x' is in")));
}

}  // namespace
}  // namespace taskvec::formats
