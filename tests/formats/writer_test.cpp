#include "taskvec/formats/writer.h"

#include "taskvec/formats/numpy/npy_header.h"
#include "taskvec/formats/output_format.h"
#include "tests/formats/file_test.h"

#include <zlib.h>

#include <fstream>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class WriterTest : public FileTest {};

TEST_F(WriterTest, TheExtensionSaysTheFormat) {
  EXPECT_EQ(output_of("a/b.safetensors"), Output::Safetensors);
  EXPECT_EQ(output_of("b.gguf"), Output::Gguf);
  EXPECT_EQ(output_of("b.npz"), Output::Npz);
  EXPECT_EQ(output_of("b.npy"), Output::Npy);
  EXPECT_EQ(output_of("a/clip-vit-b32"), Output::Folder);
  EXPECT_EQ(output_of("a/v1.5"), Output::Folder);
  EXPECT_THAT(message_of([] { output_of("x.pt"); }),
              HasSubstr("x.pt: taskvec does not write .pt files; end the name in .safetensors"));
  EXPECT_EQ(parse_output("gguf"), Output::Gguf);
  EXPECT_THAT(message_of([] { parse_output("onnx"); }), HasSubstr("'onnx'; there are folder, safetensors, gguf, npz, npy"));
}

OutputLayout layout_of_two() {
  OutputLayout layout;
  layout.tensors = {{"b.weight", {Dtype::F16, {2, 3}}}, {"a.bias", {Dtype::F32, {}}}};
  layout.metadata = {{"key", "000"}};
  return layout;
}

TEST_F(WriterTest, TheLayoutMaySayAnotherFormatThanTheExtension) {
  OutputLayout layout = layout_of_two();
  layout.output = Output::Gguf;
  EXPECT_EQ(open(write(layout, "noextension"))->manifest().format, "GGUF v3");
  layout.output = Output::Folder;
  write(layout, "folder.npz");
  EXPECT_TRUE(fs::exists(folder_ / "folder.npz/model.safetensors"));
}

TEST_F(WriterTest, NothingAppearsWithoutCommitInAnyFormat) {
  for (const char* name : {"x.safetensors", "x.gguf", "x.npz"}) {
    CheckpointWriter writer(folder_ / name, layout_of_two());
    writer.tensor(0)[0] = std::byte{1};
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(WriterTest, ShardsNeedAFolder) {
  OutputLayout layout = layout_of_two();
  layout.tensors[1].shard = 1;
  for (const char* name : {"x.safetensors", "x.gguf", "x.npz"})
    EXPECT_THAT(message_of([&] { CheckpointWriter(folder_ / name, layout); }), HasSubstr("2 shards need a folder, not a file"));
}

TEST_F(WriterTest, ARangeOutsideOfATensorIsRefused) {
  CheckpointWriter writer(folder_ / "x.gguf", layout_of_two());
  const std::vector<std::byte> four(4);
  EXPECT_THAT(message_of([&] { writer.write(0, 9, four); }), HasSubstr("tensor 'b.weight': 4 bytes at 9 do not fit into 12"));
  EXPECT_THAT(message_of([&] { writer.write(0, ~uint64_t{0}, four); }), HasSubstr("do not fit"));
}

template <typename T>
T number(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// The parts of an archive, found by their signatures from the end, as any reader does.
TEST_F(WriterTest, AnNpzIsAZipWhoseMembersAreArrays) {
  OutputLayout layout = layout_of_two();
  CheckpointWriter writer(folder_ / "x.npz", layout);
  std::ranges::fill(writer.tensor(0), std::byte{7});
  std::ranges::fill(writer.tensor(1), std::byte{9});
  writer.patch_metadata("key", "abc");
  writer.commit();
  const std::string bytes = read_file(folder_ / "x.npz");
  const std::string comment = R"({"key":"abc"})";
  ASSERT_TRUE(bytes.ends_with(comment));
  const size_t end = bytes.size() - comment.size() - 22;
  ASSERT_EQ(number<uint32_t>(bytes, end), 0x06054B50U);
  ASSERT_EQ(number<uint16_t>(bytes, end + 10), 2U);
  size_t entry = number<uint32_t>(bytes, end + 16);
  for (const auto& tensor : layout.tensors) {
    ASSERT_EQ(number<uint32_t>(bytes, entry), 0x02014B50U);
    const std::string name = bytes.substr(entry + 46, number<uint16_t>(bytes, entry + 28));
    EXPECT_EQ(name, tensor.name + ".npy");
    const size_t local = number<uint32_t>(bytes, entry + 42), size = number<uint32_t>(bytes, entry + 24);
    ASSERT_EQ(number<uint32_t>(bytes, local), 0x04034B50U);
    const size_t data = local + 30 + number<uint16_t>(bytes, local + 26) + number<uint16_t>(bytes, local + 28);
    const auto crc = static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()) + data, size));
    EXPECT_EQ(number<uint32_t>(bytes, entry + 16), crc);
    EXPECT_EQ(number<uint32_t>(bytes, local + 14), crc);
    const auto array = std::as_bytes(std::span(bytes)).subspan(data, size);
    const NpyHeader header = read_npy_header(array, "test");
    EXPECT_EQ(header.info, tensor.info);
    EXPECT_EQ((data + header.size) % 64, 0U);
    EXPECT_EQ(header.size + static_cast<size_t>(tensor.info.nbytes()), size);
    EXPECT_EQ(array.back(), tensor.name == "a.bias" ? std::byte{9} : std::byte{7});
    entry += 46 + name.size();
  }
  EXPECT_EQ(entry, end);
}

TEST_F(WriterTest, MetadataTooLargeForAnNpzKeepWhatIsTaskvecs) {
  OutputLayout layout = layout_of_two();
  layout.metadata = {{"vocabulary", std::string(70000, 'x')}, {"taskvec.expression", "in"}};
  const std::string bytes = read_file(write(layout, "x.npz"));
  EXPECT_TRUE(bytes.ends_with(R"({"taskvec.expression":"in"})"));
}

TEST_F(WriterTest, AnNpzBeyondFourGigabytesHasZip64Sizes) {
  constexpr int64_t kBig = int64_t{5} << 30;
  OutputLayout layout;
  layout.tensors = {{"a", {Dtype::U8, {kBig}}}, {"b", {Dtype::U8, {1}}}};
  const FileLayout file = npz_output().lay_out("x.npz", layout.tensors, layout);
  ASSERT_EQ(file.texts.size(), 3U);
  EXPECT_GT(file.offsets[1], static_cast<uint64_t>(kBig));
  const std::string& directory = file.texts[2].bytes;
  const uint64_t size = file.offsets[0] + kBig - (30 + 5 + 20);  // array header and elements
  EXPECT_EQ(number<uint64_t>(file.texts[0].bytes, 30 + 5 + 4), size);
  EXPECT_EQ(number<uint32_t>(directory, 20), 0xFFFFFFFFU);
  EXPECT_EQ(number<uint64_t>(directory, 46 + 5 + 4), size);
  const size_t second = 46 + 5 + 4 + 16;
  EXPECT_LT(number<uint32_t>(directory, second + 20), 200U);
  EXPECT_EQ(number<uint32_t>(directory, second + 42), 0xFFFFFFFFU);
  EXPECT_EQ(number<uint64_t>(directory, second + 46 + 5 + 4), file.texts[1].offset);
  const size_t end64 = second + 46 + 5 + 4 + 8;
  EXPECT_EQ(number<uint32_t>(directory, end64), 0x06064B50U);
  EXPECT_EQ(number<uint64_t>(directory, end64 + 48), file.texts[2].offset);
}

TEST_F(WriterTest, AnNpzOfManyMembersHasZip64Records) {
  OutputLayout layout;
  for (int i = 0; i < 65535; ++i) layout.tensors.push_back({fmt::format("t{}", i), {Dtype::U8, {0}}});
  CheckpointWriter writer(folder_ / "x.npz", layout);
  writer.commit();
  const std::string bytes = read_file(folder_ / "x.npz");
  const size_t locator = bytes.size() - 22 - 20;
  ASSERT_EQ(number<uint32_t>(bytes, locator), 0x07064B50U);
  const size_t end64 = number<uint64_t>(bytes, locator + 8);
  ASSERT_EQ(number<uint32_t>(bytes, end64), 0x06064B50U);
  EXPECT_EQ(number<uint64_t>(bytes, end64 + 32), 65535U);
  EXPECT_EQ(number<uint64_t>(bytes, end64 + 48) + number<uint64_t>(bytes, end64 + 40), end64);
}

}  // namespace
}  // namespace taskvec::formats
