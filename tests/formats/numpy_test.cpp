#include "taskvec/formats/numpy/npy_header.h"
#include "taskvec/formats/verify.h"
#include "tests/formats/builders/npy_builder.h"
#include "tests/formats/builders/zip_builder.h"
#include "tests/formats/file_test.h"

namespace taskvec::formats {
namespace {

using npy_builder::literal;
using npy_builder::npy;
using testing::HasSubstr;

class NumpyTest : public FileTest {};

// What numpy 2.4.6's save() writes for [[1, 2, 3]] in float16.
TEST_F(NumpyTest, GoldenFileOfNumpy) {
  const std::string header = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 3), }" + std::string(58, ' ') + "\n";
  const std::string bytes = npy(header, raw(uint16_t{0x3C00}) + raw(uint16_t{0x4000}) + raw(uint16_t{0x4200}));
  ASSERT_EQ(bytes.size(), 128U + 6);
  const auto file = open(write(bytes, "golden.npy"));
  EXPECT_EQ(file->manifest().format, "npy");
  EXPECT_EQ(file->entry("golden").info, (TensorInfo{Dtype::F16, {1, 3}}));
  EXPECT_TRUE(file->entry("golden").as_is);
  EXPECT_EQ(values<uint16_t>(*file, "golden"), (std::vector<uint16_t>{0x3C00, 0x4000, 0x4200}));
  // Written again, the same bytes.
  OutputLayout layout;
  layout.tensors = {{"golden", {Dtype::F16, {1, 3}}}};
  CheckpointWriter writer(folder_ / "again.npy", layout);
  writer.write(0, 0, file->tensor("golden").view.bytes);
  writer.commit();
  EXPECT_EQ(read_file(folder_ / "again.npy"), bytes);
}

TEST_F(NumpyTest, VersionsShapesAndSpellings) {
  for (const char major : {'\1', '\2', '\3'})
    EXPECT_EQ(open(write(npy(literal("<f4", "False", "(1,)"), raw(1.5F), major), "x"))->entry("x").info.shape, Shape{1});
  EXPECT_EQ(open(write(npy(literal("<f4", "False", "()"), raw(1.5F)), "x"))->entry("x").info.shape, Shape{});
  EXPECT_EQ(open(write(npy(literal("<f4", "False", "(0, 7)"), ""), "x"))->entry("x").info.shape, (Shape{0, 7}));
  const std::string other_order = R"({"shape":(2,),"descr":"|i1","fortran_order":True})";
  EXPECT_EQ(values<int8_t>(*open(write(npy(other_order, "\1\2"), "x")), "x"), (std::vector<int8_t>{1, 2}));
}

TEST_F(NumpyTest, FortranOrderIsTransposed) {
  std::string data;
  for (uint8_t value = 0; value < 24; ++value) data += raw(value);
  const auto file = open(write(npy(literal("|u1", "True", "(2, 3, 4)"), data), "x"));
  EXPECT_FALSE(file->entry("x").as_is);
  const auto all = values<uint8_t>(*file, "x");
  // Element (i, j, k) lies at i + 2 j + 6 k.
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(all[i], i / 12 + 2 * (i / 4 % 3) + 6 * (i % 4));
  for (size_t first = 0; first < 24; ++first) {
    const TensorRange range(*file, file->entry("x"), first, 24 - first);
    EXPECT_EQ(std::memcmp(range.bytes().data(), all.data() + first, 24 - first), 0) << first;
  }
}

TEST_F(NumpyTest, MembersOfAnNpzMayBeStoredDeflatedAndInEitherOrder) {
  std::string data;
  for (int i = 0; i < 6; ++i) data += raw(static_cast<int32_t>(i));
  ZipBuilder zip;
  zip.store("stored.npy", npy(literal("<i4", "False", "(2, 3)"), data));
  zip.deflate("deflated.npy", npy(literal("<i4", "False", "(2, 3)"), data));
  zip.deflate("a/fortran.npy", npy(literal("<i4", "True", "(2, 3)"), data));
  zip.store("empty.npy", npy(literal("<i4", "True", "(0, 3)"), ""));
  const auto file = open(write(zip.bytes(), "x"));
  EXPECT_EQ(file->manifest().format, "npz");
  EXPECT_TRUE(file->entry("stored").as_is);
  EXPECT_EQ(values<int32_t>(*file, "stored"), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values<int32_t>(*file, "deflated"), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values<int32_t>(*file, "a/fortran"), (std::vector<int32_t>{0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(values<int32_t>(*file, "empty"), std::vector<int32_t>{});
  const TensorRange range(*file, file->entry("deflated"), 8, 12);
  EXPECT_EQ(std::memcmp(range.bytes().data(), data.data() + 8, 12), 0);
  EXPECT_TRUE(verify(folder_ / "x").ok());
}

TEST_F(NumpyTest, AnNpzWrittenIsReadWithItsMetadata) {
  OutputLayout layout;
  layout.tensors = {{"a.b", {Dtype::F16, {2, 3}}}, {"c/d", {Dtype::C64, {}}}};
  layout.metadata = {{"key", "naïve"}};
  const auto file = open(write(layout, "x.npz"));
  EXPECT_EQ(file->manifest().metadata, layout.metadata);
  for (const auto& tensor : layout.tensors) EXPECT_EQ(file->entry(tensor.name).info, tensor.info);
  EXPECT_EQ(values<uint8_t>(*file, "c/d"), (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(NumpyTest, AMemberThatIsNoArrayIsNamed) {
  ZipBuilder zip;
  zip.store("w.npy", "no array at all");
  EXPECT_THAT(open_error(write(zip.bytes(), "x")), HasSubstr("'w.npy': no numpy array"));
  ZipBuilder bomb;
  bomb.deflate("w.npy", npy(literal("<f4", "False", "(1000000000,)"), std::string(1000, '\0')));
  EXPECT_THAT(open_error(write(bomb.bytes(), "x")), HasSubstr("needs 4000000000 bytes, but 1000 follow the header"));
}

TEST_F(NumpyTest, VerifyFindsADamagedMember) {
  OutputLayout layout;
  layout.tensors = {{"a", {Dtype::U8, {64}}}, {"b", {Dtype::U8, {64}}}};
  std::string bytes = read_file(write(layout, "x.npz"));
  bytes[bytes.find("\1\2\3\4\5\6")] = '\7';
  EXPECT_THAT(verify(write(bytes, "x.npz")).problems, testing::ElementsAre(HasSubstr("'a.npy' has another CRC")));
}

TEST_F(NumpyTest, VerifyNamesAMemberThatDoesNotInflateAndGoesOn) {
  ZipBuilder zip;
  zip.deflate("bad.npy", npy(literal("|u1", "False", "(2,)"), "\1\2")).crc ^= 1;
  zip.deflate("good.npy", npy(literal("|u1", "False", "(2,)"), "\1\2"));
  const auto found = verify(write(zip.bytes(), "x.npz"));
  EXPECT_THAT(found.problems, testing::ElementsAre(HasSubstr("'bad.npy' inflates to bytes with another CRC")));
  EXPECT_EQ(found.tensors.size(), 2U);
}

TEST_F(NumpyTest, WhatNumpyLacksIsRefusedWithTheFix) {
  OutputLayout layout;
  layout.tensors = {{"w", {Dtype::BF16, {1}}}};
  EXPECT_THAT(message_of([&] { CheckpointWriter(folder_ / "x.npz", layout); }),
              HasSubstr("tensor 'w' is BF16, which numpy lacks; use --dtype F32"));
  layout.tensors = {{"w", {Dtype::F32, {1}}}, {"v", {Dtype::F32, {1}}}};
  EXPECT_THAT(message_of([&] { CheckpointWriter(folder_ / "x.npy", layout); }),
              HasSubstr("a .npy file holds one array, not 2; write .npz instead"));
  for (const std::string name : {"../w", "/w", "a/../../w", "a\\w", "c:w", ""}) {
    layout.tensors = {{name, {Dtype::F32, {1}}}};
    EXPECT_THAT(message_of([&] { CheckpointWriter(folder_ / "x.npz", layout); }), HasSubstr("cannot be the name of a file"))
        << name;
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

struct Broken {
  std::string header, message;
};

class BrokenNpy : public FileTest, public testing::WithParamInterface<Broken> {};

TEST_P(BrokenNpy, IsRefusedWithTheRule) {
  EXPECT_THAT(open_error(write(npy(GetParam().header, std::string(4, '\0')), "x")), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BrokenNpy,
    testing::Values(Broken{literal("|O", "False", "(1,)"), "an array of '|O': Python objects in a pickle"},
                    Broken{literal("|V2", "False", "(2,)"), "an array of '|V2': raw bytes without a type (bfloat16"},
                    Broken{literal(">f4", "False", "(1,)"), "an array of '>f4': big-endian"},
                    Broken{literal("<U1", "False", "(1,)"), "an array of '<U1': text"},
                    Broken{literal("<c16", "False", "(1,)"), "an array of '<c16': a type that taskvec does not read"},
                    Broken{"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "a structured array"},
                    Broken{literal("<f4", "False", "(3,)"), "needs 12 bytes, but 4 follow the header"},
                    Broken{literal("<f4", "False", "(-1,)"), "a dimension from 0 to 2^63 - 1 expected"},
                    Broken{literal("<f4", "False", "(9223372036854775808,)"), "a dimension from 0 to 2^63 - 1 expected"},
                    Broken{literal("<f4", "False", "(4611686018427387904, 4)"), "overflows"},
                    Broken{literal("<f4", "False", "(1)"), "shape is a tuple"},
                    Broken{literal("<f4", "0", "(1,)"), "True or False expected"},
                    Broken{literal("<f4", "__import__('os').system('false')", "(1,)"), "True or False expected"},
                    Broken{"{'descr': '<f4', 'fortran_order': False}", "descr, fortran_order and shape are needed"},
                    Broken{"{'descr': '<f4', 'descr': '<f4'}", "key 'descr' is unknown or there twice"},
                    Broken{"{'descr': '<f4', 'x': 1}", "key 'x' is unknown or there twice"},
                    Broken{"{'descr': '<f\\x34'}", "a string with escapes"}, Broken{"{'descr", "a string without an end"},
                    Broken{literal("<f4", "False", "(1,)") + "+ 1", "text behind the '}'"}, Broken{"", "'{' expected"}));

TEST_F(NumpyTest, AShapeOfAMillionDimensionsIsRefused) {
  std::string shape = "(";
  for (int i = 0; i < 10000; ++i) shape += "1, ";
  EXPECT_THAT(open_error(write(npy(literal("<f4", "False", shape + ")"), raw(1.0F)), "x")), HasSubstr("more than 64 dimensions"));
}

}  // namespace
}  // namespace taskvec::formats
