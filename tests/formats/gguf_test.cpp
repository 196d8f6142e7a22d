#include "taskvec/formats/gguf/gguf.h"

#include "taskvec/formats/gguf/gguf_blocks.h"
#include "tests/formats/builders/gguf_builder.h"
#include "tests/formats/file_test.h"

#include <cmath>
#include <functional>

namespace taskvec::formats {
namespace {

using namespace gguf_builder;
using testing::HasSubstr;

class GgufTest : public FileTest {};

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

// Written by the Python package gguf 0.19.0: 'q' is (arange(32) - 16) / 4 as Q8_0, 'h' is [[1, 2, 3]] as F16.
TEST_F(GgufTest, GoldenFileOfTheGgufPackage) {
  const std::string bytes = from_hex(
      "474755460300000002000000000000000100000000000000140000000000000067656e6572616c2e617263686974656374757265080000"
      "00010000000000000074010000000000000071020000002000000000000000010000000000000008000000000000000000000001000000"
      "00000000680200000003000000000000000100000000000000010000004000000000000000000000000000000000000000000828818991"
      "99a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f770000000000000000000000000000000000000000000000000000"
      "00000000003c004000420000000000000000000000000000000000000000000000000000");
  const auto file = open(write(bytes, "g"));
  EXPECT_EQ(file->manifest().format, "GGUF v3");
  EXPECT_EQ(file->manifest().metadata.at("general.architecture"), "t");
  EXPECT_EQ(file->entry("h").info, (TensorInfo{Dtype::F16, {1, 3}}));
  EXPECT_EQ(values<uint16_t>(*file, "h"), (std::vector<uint16_t>{0x3C00, 0x4000, 0x4200}));
  const auto q = values<float>(*file, "q");
  ASSERT_EQ(q.size(), 32U);
  EXPECT_EQ(raw(q[0]) + raw(q[1]) + raw(q[31]), from_hex("00fc7fc000dc6fc000dc6f40"));
}

TEST_F(GgufTest, AnyRangeOfAQuantisedTensorIsTheSameAsThatOfTheWhole) {
  for (const uint32_t id : {2U, 3U, 6U, 7U, 8U, 10U, 11U, 12U, 13U, 14U}) {
    const GgmlType& type = *find_ggml_type(id);
    Builder builder;
    builder.tensors = {{"w", {2 * type.block_elements, 3}, id}};
    builder.data.resize(static_cast<size_t>(6 * type.block_bytes));
    // Bytes below 0x70 keep the scales finite.
    for (size_t i = 0; i < builder.data.size(); ++i) builder.data[i] = static_cast<char>(i * 37 % 0x70);
    const auto file = open(write(builder.bytes(), "g"));
    const auto all = values<float>(*file, "w");
    ASSERT_EQ(all.size(), static_cast<size_t>(6 * type.block_elements));
    for (const size_t first : {size_t{0}, size_t{1}, size_t{31}, all.size() / 2 - 1}) {
      const TensorRange range(*file, file->entry("w"), first * 4, (all.size() - first - 1) * 4);
      EXPECT_EQ(std::memcmp(range.bytes().data(), all.data() + first, range.bytes().size()), 0) << type.name << " from " << first;
    }
    // What the elements must be at least: not all the same, and finite.
    EXPECT_NE(all.front(), all.back()) << type.name;
    for (const float value : all) ASSERT_TRUE(std::isfinite(value)) << type.name;
  }
}

TEST_F(GgufTest, VersionTwoIsReadToo) {
  Builder builder;
  builder.version = 2;
  const auto file = open(write(builder.bytes(), "g"));
  EXPECT_EQ(file->manifest().format, "GGUF v2");
  EXPECT_EQ(file->entry("w").info, (TensorInfo{Dtype::F32, {1, 2}}));
}

TEST_F(GgufTest, MetadataBecomeText) {
  Builder builder;
  builder.metadata = {text("a") + raw(uint32_t{4}) + raw(uint32_t{7}),
                      text("b") + raw(uint32_t{7}) + raw(uint8_t{1}),
                      text("c") + raw(uint32_t{6}) + raw(0.5F),
                      text("d") + raw(uint32_t{9}) + raw(uint32_t{8}) + raw(uint64_t{6}) + text("x") +
                          text(std::string(99, 'y')) + text("z") + text("") + text("u") + text("v"),
                      text("e") + raw(uint32_t{9}) + raw(uint32_t{5}) + raw(uint64_t{2}) + raw(int32_t{-1}) + raw(int32_t{2}),
                      text("f") + raw(uint32_t{8}) + text("\xFF\xFE")};
  const auto metadata = open(write(builder.bytes(), "g"))->manifest().metadata;
  EXPECT_THAT(metadata,
              testing::ElementsAre(testing::Pair("a", "7"), testing::Pair("b", "true"), testing::Pair("c", "0.5"),
                                   testing::Pair("d", "[6 of string: x, ..., z, , ...]"), testing::Pair("e", "[2 of i32: -1, 2]"),
                                   testing::Pair("f", "(2 bytes that are no UTF-8)")));
}

TEST_F(GgufTest, RoundTripKeepsShapesBytesAndTypedMetadata) {
  OutputLayout layout;
  layout.tensors = {
      {"a", {Dtype::F32, {2, 3, 5}}}, {"b", {Dtype::BF16, {}}}, {"c", {Dtype::I64, {3}}}, {"d", {Dtype::F16, {0, 4}}}};
  layout.metadata = {{"general.architecture", "llama"}, {"llama.block_count", "2"}, {"general.alignment", "64"}};
  layout.native_metadata = {{"llama.block_count", raw(uint32_t{4}) + raw(uint32_t{2})}};
  const auto file = open(write(layout, "x.gguf"));
  ASSERT_EQ(file->manifest().tensors.size(), 4U);
  for (const auto& tensor : layout.tensors) {
    EXPECT_EQ(file->entry(tensor.name).info, tensor.info);
    EXPECT_EQ(file->entry(tensor.name).offset % 32, 0U);
  }
  EXPECT_EQ(values<uint8_t>(*file, "b"), (std::vector<uint8_t>{1, 2}));
  EXPECT_EQ(file->manifest().metadata.at("llama.block_count"), "2");
  EXPECT_EQ(file->manifest().native_metadata.at("llama.block_count"), layout.native_metadata.at("llama.block_count"));
  EXPECT_FALSE(file->manifest().metadata.contains("general.alignment"));
}

TEST_F(GgufTest, PatchedMetadataAreThere) {
  OutputLayout layout;
  layout.tensors = {{"a", {Dtype::F32, {2}}}};
  layout.metadata = {{"k", "000"}};
  CheckpointWriter writer(folder_ / "x.gguf", layout);
  writer.patch_metadata("k", "abc");
  EXPECT_THAT(message_of([&] { writer.patch_metadata("k", "abcd"); }),
              HasSubstr("only be replaced by a value of the same length"));
  writer.commit();
  EXPECT_EQ(open(folder_ / "x.gguf")->manifest().metadata.at("k"), "abc");
}

TEST_F(GgufTest, WhatGgufCannotHoldIsRefusedWithTheFix) {
  const auto refusal = [&](const std::string& name, const TensorInfo& info) {
    OutputLayout layout;
    layout.tensors = {{name, info}};
    return message_of([&] { CheckpointWriter(folder_ / "x.gguf", layout); });
  };
  EXPECT_THAT(refusal("w", {Dtype::BOOL, {1}}), HasSubstr("tensor 'w' is BOOL, which GGUF lacks; write .safetensors instead"));
  EXPECT_THAT(refusal("w", {Dtype::F8_E4M3, {1}}), HasSubstr("use --dtype F32 or F16"));
  EXPECT_THAT(refusal("w", {Dtype::F32, {1, 1, 1, 1, 1}}), HasSubstr("shape [1, 1, 1, 1, 1]; GGUF allows 4 dimensions"));
  EXPECT_THAT(refusal(std::string(64, 'n'), {Dtype::F32, {1}}), HasSubstr("has 64 bytes; GGUF allows 1 to 63"));
  EXPECT_THAT(refusal(std::string("a\0b", 3), {Dtype::F32, {1}}), HasSubstr("holds a NUL, which GGUF forbids"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

struct Broken {
  const char* rule;
  std::function<void(Builder&)> change;
  const char* message;
};
void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.rule; }

class BrokenGguf : public FileTest, public testing::WithParamInterface<Broken> {};

TEST_P(BrokenGguf, IsRefusedWithTheRule) {
  Builder builder;
  GetParam().change(builder);
  EXPECT_THAT(open_error(write(builder.bytes(), "g")), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BrokenGguf,
    testing::Values(
        Broken{"version 1", [](Builder& b) { b.version = 1; }, "GGUF version 1; taskvec reads 2 and 3"},
        Broken{"big-endian", [](Builder& b) { b.version = 0x03000000; }, "a big-endian GGUF file"},
        Broken{"2^63 tensors", [](Builder& b) { b.tensor_count = uint64_t{1} << 63; }, "9223372036854775808 tensors do not fit"},
        Broken{"2^32 entries", [](Builder& b) { b.metadata_count = uint64_t{1} << 32; },
               "4294967296 metadata entries do not fit"},
        Broken{"a long key",
               [](Builder& b) {
                 b.metadata = {raw(uint64_t{1} << 40)};
                 b.metadata_count = 1;
               },
               "a metadata key of 1099511627776 bytes; at most 65535"},
        Broken{"a key twice", [](Builder& b) { b.metadata.push_back(b.metadata[0]); }, "'general.architecture' is there twice"},
        Broken{"type 13", [](Builder& b) { b.metadata = {entry("k", 13, "")}; }, "metadata 'k' has type 13; 0 to 12 exist"},
        Broken{"a bool of 2", [](Builder& b) { b.metadata = {entry("k", 7, "\2")}; }, "a bool of 2; 0 or 1 expected"},
        Broken{"nested arrays", [](Builder& b) { b.metadata = {entry("k", 9, raw(uint32_t{9}) + raw(uint64_t{1}))}; },
               "an array of arrays"},
        Broken{"an endless array", [](Builder& b) { b.metadata = {entry("k", 9, raw(uint32_t{10}) + raw(~uint64_t{0}))}; },
               "metadata 'k' has 18446744073709551615 elements, but the file ends"},
        Broken{"an endless string", [](Builder& b) { b.metadata = {entry("k", 8, raw(~uint64_t{0}))}; },
               "k of 18446744073709551615 bytes"},
        Broken{"alignment 0", [](Builder& b) { b.metadata = {entry("general.alignment", 4, raw(uint32_t{0}))}; },
               "general.alignment is 0 (u32); a u32 power of two expected"},
        Broken{"alignment as text", [](Builder& b) { b.metadata = {entry("general.alignment", 8, text("32"))}; },
               "general.alignment is 32 (string)"},
        Broken{"a part of several", [](Builder& b) { b.metadata = {entry("split.count", 2, raw(uint16_t{3}))}; },
               "one of 3 parts; join them first"},
        Broken{"no name", [](Builder& b) { b.tensors[0].name = ""; }, "is empty, holds a NUL or is no UTF-8"},
        Broken{"a NUL in a name", [](Builder& b) { b.tensors[0].name = std::string("a\0b", 3); }, "holds a NUL"},
        Broken{"a name in no UTF-8", [](Builder& b) { b.tensors[0].name = "\xC0"; }, "is no UTF-8"},
        Broken{"a long name", [](Builder& b) { b.tensors[0].name = std::string(65, 'x'); }, "of 65 bytes; at most 64"},
        Broken{"five dimensions",
               [](Builder& b) {
                 b.tensors[0].dims = {1, 1, 1, 1, 1};
               },
               "has 5 dimensions; at most 4"},
        Broken{"a negative dimension", [](Builder& b) { b.tensors[0].dims = {-2}; }, "tensor 'w' with shape [-2]"},
        Broken{"2^64 elements",
               [](Builder& b) {
                 b.tensors[0].dims = {int64_t{1} << 62, 4};
               },
               "overflows"},
        Broken{"a type unknown", [](Builder& b) { b.tensors[0].type = 99; },
               "has type 99 (unknown), which taskvec does not read"},
        Broken{"a type not read", [](Builder& b) { b.tensors[0].type = 16; },
               "has type 16 (IQ2_XXS), which taskvec does not read"},
        Broken{"half a block", [](Builder& b) { b.tensors[0].type = 8; },
               "rows of 2 elements, no multiple of Q8_0's blocks of 32"},
        Broken{"not aligned", [](Builder& b) { b.tensors[0].offset = 4; }, "at offset 4 is not aligned to 32 bytes"},
        Broken{"outside", [](Builder& b) { b.tensors[0].offset = uint64_t{1} << 40; }, "but the file holds 8 bytes of data"},
        Broken{"wrapping around", [](Builder& b) { b.tensors[0].offset = ~uint64_t{31}; }, "but the file holds 8 bytes of data"},
        Broken{"a name twice", [](Builder& b) { b.tensors.push_back(b.tensors[0]); }, "tensor 'w' is there twice"},
        Broken{"an overlap",
               [](Builder& b) {
                 b.tensors.push_back(b.tensors[0]);
                 b.tensors[1].name = "v";
               },
               "overlaps the one before it by 8 bytes"},
        Broken{"a hole",
               [](Builder& b) {
                 b.tensors[0].offset = 64;
                 b.data.resize(72);
               },
               "64 bytes before tensor 'w' belong to no"},
        Broken{"something behind", [](Builder& b) { b.data.resize(64); },
               "56 bytes behind the last tensor belong to no tensor"}));

}  // namespace
}  // namespace taskvec::formats
