#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/formats/checkpoint.h"
#include "taskvec/formats/writer.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "safetensors_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// A file with this JSON header and so many bytes of data.
  fs::path write(const std::string& json, size_t data_size, const std::string& name = "x.safetensors") const {
    const uint64_t length = json.size();
    std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
    bytes += json + std::string(data_size, '\0');
    write_file_atomically(folder_ / name, bytes);
    return folder_ / name;
  }

  static std::string error_of(const fs::path& path) {
    return message_of([&] { open(path); });
  }

  fs::path folder_;
};

OutputLayout two_tensors(int second_shard = 0) {
  OutputLayout layout;
  layout.tensors = {{"b.weight", {Dtype::BF16, {2, 3}}, 0}, {"a.bias", {Dtype::F32, {}}, second_shard}};
  layout.metadata = {{"format", "pt"}};
  return layout;
}

void fill(CheckpointWriter& writer) {
  for (size_t tensor = 0; tensor < 2; ++tensor) {
    auto bytes = writer.tensor(tensor);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(10 * tensor + i);
  }
}

// The bytes that the reference implementation (safetensors 0.4, save_file) writes for {"a": one float32 of 1.5}.
TEST_F(SafetensorsTest, ReadsTheReferenceImplementationsBytes) {
  const std::string json = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}          )";
  ASSERT_EQ(json.size() % 8, 0U);
  const uint64_t length = json.size();
  const float value = 1.5F;
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  bytes += json + std::string(reinterpret_cast<const char*>(&value), 4);
  write_file_atomically(folder_ / "a.safetensors", bytes);
  const auto checkpoint = open(folder_ / "a.safetensors");
  const auto tensor = checkpoint->tensor("a");
  ASSERT_EQ(tensor.view.bytes.size(), 4U);
  EXPECT_EQ(std::memcmp(tensor.view.bytes.data(), &value, 4), 0);
  EXPECT_EQ(tensor.view.info, (TensorInfo{Dtype::F32, {1}}));
}

// Names and sizes as in the reference implementation, safetensors 0.8.0 (Dtype in tensor.rs).
TEST_F(SafetensorsTest, EveryDtypeOfWholeBytesIsReadAndWritten) {
  const std::vector<std::pair<const char*, int64_t>> dtypes{
      {"BOOL", 1},        {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1},
      {"F8_E5M2FNUZ", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},         {"C64", 8}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (const auto& [name, size] : dtypes) {
    const auto read = open(write(fmt::format(R"({{"a":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", name, 3 * size),
                                 static_cast<size_t>(3 * size)));
    const TensorInfo info = read->entry("a").info;
    EXPECT_EQ(taskvec::name(info.dtype), name);
    OutputLayout layout;
    layout.tensors = {{"a", info}};
    CheckpointWriter writer(folder_ / "again.safetensors", layout);
    writer.commit();
    EXPECT_EQ(open(folder_ / "again.safetensors")->entry("a").info, info);
  }
}

TEST_F(SafetensorsTest, RoundTripKeepsOrderMetadataAndBytes) {
  CheckpointWriter writer(folder_ / "m.safetensors", two_tensors());
  fill(writer);
  writer.commit();
  const auto read = open(folder_ / "m.safetensors");
  ASSERT_EQ(read->manifest().tensors.size(), 2U);
  EXPECT_EQ(read->manifest().tensors[0].name, "b.weight");
  EXPECT_EQ(read->manifest().tensors[1].info, (TensorInfo{Dtype::F32, {}}));
  EXPECT_EQ(read->manifest().metadata.at("format"), "pt");
  EXPECT_EQ(read->tensor("a.bias").view.bytes[3], std::byte{13});
}

TEST_F(SafetensorsTest, ALoneFileAndItsShardedFormHaveTheSameFingerprint) {
  CheckpointWriter lone(folder_ / "m.safetensors", two_tensors());
  CheckpointWriter sharded(folder_ / "m", two_tensors(1));
  for (auto* writer : {&lone, &sharded}) {
    fill(*writer);
    writer->commit();
  }
  const auto folder = open(folder_ / "m");
  EXPECT_EQ(folder->manifest().format, "sharded safetensors");
  EXPECT_EQ(folder->fingerprint(), open(folder_ / "m.safetensors")->fingerprint());
}

TEST_F(SafetensorsTest, NothingAppearsWithoutCommit) {
  {
    CheckpointWriter lone(folder_ / "m.safetensors", two_tensors());
    CheckpointWriter sharded(folder_ / "m", two_tensors(1));
    fill(lone);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(SafetensorsTest, AMisspeltTensorIsAnErrorWithTheNearestName) {
  CheckpointWriter writer(folder_ / "m.safetensors", two_tensors());
  writer.commit();
  try {
    open(folder_ / "m.safetensors")->tensor("b.wieght");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'b.weight'?"));
  }
}

TEST_F(SafetensorsTest, RefusesAHeaderOfTwoToThe63Bytes) {
  const uint64_t length = uint64_t{1} << 63;
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  write_file_atomically(folder_ / "x.safetensors", bytes + "{}");
  EXPECT_THAT(error_of(folder_ / "x.safetensors"), HasSubstr("header of 9223372036854775808 bytes; at most 100000000"));
}

struct BadHeader {
  const char* json;
  size_t data_size;
  const char* message;
};

class BadHeaderTest : public SafetensorsTest, public testing::WithParamInterface<BadHeader> {};

TEST_P(BadHeaderTest, IsRefusedWithTheRule) {
  EXPECT_THAT(error_of(write(GetParam().json, GetParam().data_size)), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BadHeaderTest,
    testing::Values(
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "it may be truncated"},
        BadHeader{
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", 6,
            "overlaps the one before it by 2 bytes"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
                  "4 bytes before tensor 'a' belong to no tensor"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 6, "2 bytes behind the last tensor"},
        BadHeader{R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                  2, "tensor 'a' is there twice"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "needs 12 bytes, but its data_offsets span 8"},
        BadHeader{R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1,
                  "tensor 'a' has dtype F4, whose elements share bytes; taskvec does not read it"},
        BadHeader{R"({"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}})", 3,
                  "has dtype F6_E3M2, whose elements share bytes"},
        BadHeader{R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "dtype 'F99', which taskvec does not know"},
        BadHeader{R"({"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,4]}})", 4, "overflows"},
        BadHeader{R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "must be whole numbers"},
        BadHeader{R"({"a":{"dtype":"U8","shape":[1]}})", 1, "needs dtype, shape and two data_offsets"},
        BadHeader{R"({"__metadata__":{"a":1}})", 0, "entry 'a' is not a string"}, BadHeader{R"({"a":)", 0, "not valid JSON"},
        BadHeader{R"([])", 0, "does not start with '{'"}));

TEST_F(SafetensorsTest, AMissingShardIsNamed) {
  fs::create_directory(folder_ / "m");
  write_file_atomically(folder_ / "m" / "model.safetensors.index.json",
                        R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})");
  EXPECT_THAT(error_of(folder_ / "m"), HasSubstr("names shard 'model-00001-of-00002.safetensors', but there is no such file"));
}

TEST_F(SafetensorsTest, AnIndexCannotReachOutOfItsFolder) {
  fs::create_directory(folder_ / "m");
  write_file_atomically(folder_ / "m" / "model.safetensors.index.json", R"({"weight_map":{"a":"../x.safetensors"}})");
  EXPECT_THAT(error_of(folder_ / "m"), HasSubstr("'../x.safetensors' is not the name of a file in the same folder"));
}

// A header of 640 bytes begins with 80 02, as a pickle does.
TEST_F(SafetensorsTest, ALengthThatLooksLikeAnotherFormatsMagic) {
  std::string json = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  json.resize(640, ' ');
  EXPECT_EQ(open(write(json, 1))->manifest().format, "safetensors");
}

TEST_F(SafetensorsTest, OtherFormatsAreNamed) {
  write_file_atomically(folder_ / "x", "GGUF....");
  EXPECT_THAT(error_of(folder_ / "x"), HasSubstr("GGUF version"));
  EXPECT_THAT(error_of(folder_ / "nowhere"), HasSubstr("No such file"));
  EXPECT_THAT(error_of(folder_), HasSubstr("neither model.safetensors nor model.safetensors.index.json; it holds: x"));
}

}  // namespace
}  // namespace taskvec::formats
