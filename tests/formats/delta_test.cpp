// Task vectors as files: what is read, and what is refused.
#include "taskvec/formats/delta/delta.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/formats/delta/byte_planes.h"
#include "taskvec/formats/delta/lossless.h"
#include "taskvec/formats/fingerprint.h"
#include "taskvec/formats/verify.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <limits>

namespace taskvec::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Metadata = std::map<std::string, std::string>;

Metadata metadata_of(DeltaKind kind, std::string tensors, Metadata more = {}) {
  Metadata metadata = delta_metadata({kind, {"base", "b1"}, {"ft", "f1"}, "{}"});
  metadata["taskvec.delta.tensors"] = std::move(tensors);
  metadata.merge(more);
  return metadata;
}

std::vector<std::byte> some_bytes(size_t n, const std::vector<uint8_t>& seed) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(seed.empty() ? 0 : seed[i % seed.size()] + i / seed.size());
  return bytes;
}

RC_GTEST_PROP(BytePlanes, GiveTheTargetBack, (const std::vector<uint8_t>& a, const std::vector<uint8_t>& b)) {
  for (const int64_t item : {1, 2, 4, 8}) {
    const size_t n = static_cast<size_t>(item) * (a.size() + b.size());
    const auto base = some_bytes(n, a), target = some_bytes(n, b);
    std::vector<std::byte> out(n);
    RC_ASSERT(decompress_planes(item, base, compress_planes(item, base, target), out));
    RC_ASSERT(out == target);
    RC_ASSERT(decompress_planes(item, {}, compress_planes(item, {}, target), out));
    RC_ASSERT(out == target);
  }
}

TEST(BytePlanes, OfSmallDifferencesAreSmall) {
  std::vector<std::byte> base(1 << 16), target(1 << 16);
  for (size_t i = 0; i < base.size(); ++i) base[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  target = base;
  for (size_t i = 0; i < target.size(); i += 2) target[i] ^= std::byte{1};
  EXPECT_LT(compress_planes(2, base, target).size(), base.size() / 10);
}

TEST(BytePlanes, OfAnotherSizeAreRefusedBeforeAnythingIsAllocated) {
  const auto frame = compress_planes(1, {}, std::vector<std::byte>(1 << 20));  // a megabyte of zeros
  ASSERT_LT(frame.size(), 200U);
  std::vector<std::byte> out(100);
  EXPECT_FALSE(decompress_planes(1, {}, frame, out));
  EXPECT_FALSE(decompress_planes(1, {}, std::vector<std::byte>(10), out));
  EXPECT_FALSE(decompress_planes(1, {}, {}, out));
}

class DeltaTest : public FolderTest {};

TEST_F(DeltaTest, SparsePositionsAreZeroElsewhereInEveryRange) {
  const auto delta = folder_.write(
      "tv.safetensors",
      {made_of_bits<uint32_t>("w.indices", Dtype::U32, {3}, {1, 4, 5}), made("w.values", Dtype::BF16, {3}, {1.5, -2, 8})},
      metadata_of(DeltaKind::Sparse, R"([{"name":"w","dtype":"BF16","shape":[2,3]}])"));
  EXPECT_EQ(delta->manifest().format, "taskvec delta (sparse)");
  EXPECT_TRUE(delta->manifest().delta);
  ASSERT_EQ(delta->manifest().tensors.size(), 1U);
  EXPECT_EQ(delta->entry("w").info, (TensorInfo{Dtype::BF16, {2, 3}}));
  EXPECT_THAT(values_of(*delta, "w"), ElementsAre(0, 1.5, 0, 0, -2, 8));
  const auto whole = bytes_of(*delta, "w");
  for (uint64_t begin = 0; begin <= 6; ++begin) {
    for (uint64_t end = begin; end <= 6; ++end) {
      const TensorRange range(*delta, delta->entry("w"), 2 * begin, 2 * (end - begin));
      EXPECT_TRUE(std::ranges::equal(range.bytes(), std::span(whole).subspan(2 * begin, 2 * (end - begin))));
    }
  }
}

TEST_F(DeltaTest, SignsStandForPlusAndMinusTheScale) {
  const auto delta = folder_.write(
      "tv.safetensors",
      {made_of_bits<uint8_t>("w.bits", Dtype::U8, {2}, {0b0000'0101, 0b1}), made("w.scale", Dtype::F32, {}, {0.25})},
      metadata_of(DeltaKind::Sign, R"([{"name":"w","dtype":"F32","shape":[9]}])"));
  EXPECT_THAT(values_of(*delta, "w"), ElementsAre(-.25, .25, -.25, .25, .25, .25, .25, .25, -.25));
  const TensorRange last(*delta, delta->entry("w"), 28, 8);
  float pair[2];
  std::memcpy(pair, last.bytes().data(), 8);
  EXPECT_THAT(pair, ElementsAre(.25F, -.25F));
}

TEST_F(DeltaTest, FactorsAreMultipliedInEveryRange) {
  const auto delta = folder_.write(
      "tv.safetensors",
      {made("w.left", Dtype::F32, {2, 2}, {1, 2, 3, 4}), made("w.right", Dtype::F32, {2, 3}, {1, 0, 2, 0, 1, 1}),
       made("b.values", Dtype::F32, {2}, {5, 6})},
      metadata_of(DeltaKind::Rank, R"([{"name":"w","dtype":"F32","shape":[2,3,1]},{"name":"b","dtype":"F32","shape":[2]}])"));
  EXPECT_THAT(values_of(*delta, "w"), ElementsAre(1, 2, 4, 3, 4, 10));
  EXPECT_THAT(values_of(*delta, "b"), ElementsAre(5, 6));
  const TensorRange part(*delta, delta->entry("w"), 8, 12);
  float three[3];
  std::memcpy(three, part.bytes().data(), sizeof three);
  EXPECT_THAT(three, ElementsAre(4, 3, 4));
}

TEST_F(DeltaTest, FactorsThatDoNotFitAreRefused) {
  const auto message = [&](const std::vector<Made>& tensors, const std::string& described) {
    return message_of([&] { folder_.write("tv.safetensors", tensors, metadata_of(DeltaKind::Rank, described)); });
  };
  const std::string matrix = R"([{"name":"w","dtype":"F32","shape":[2,3]}])";
  const auto left = [](Shape shape) {
    return made("w.left", Dtype::F32, shape, std::vector<double>(static_cast<size_t>(numel(shape))));
  };
  const auto right = [](Shape shape) {
    return made("w.right", Dtype::F32, shape, std::vector<double>(static_cast<size_t>(numel(shape))));
  };
  EXPECT_THAT(message({left({3, 1}), right({1, 3})}, matrix), testing::HasSubstr("'w.left' is F32 [3, 1]; expected F32 [2, 1]"));
  EXPECT_THAT(message({left({2, 1}), right({2, 3})}, matrix), testing::HasSubstr("'w.right' is F32 [2, 3]; expected F32 [1, 3]"));
  EXPECT_THAT(message({left({2, 0}), right({0, 3})}, matrix), testing::HasSubstr("'w.left' [2, 0] is no factor"));
  EXPECT_THAT(message({left({2}), right({1, 3})}, matrix), testing::HasSubstr("'w.left' [2] is no factor"));
  EXPECT_THAT(message({left({2, 1}), right({1, 3})}, R"([{"name":"w","dtype":"F32","shape":[6]}])"),
              testing::HasSubstr("is no factor"));
  EXPECT_THAT(message({left({2, 1}), right({1, 3})}, R"([{"name":"w","dtype":"BF16","shape":[2,3]}])"),
              testing::HasSubstr("factors stand for F32"));
  EXPECT_THAT(message({left({2, 1})}, matrix), testing::HasSubstr("1 tensors are described, in 2 parts, but 1 parts are there"));
  EXPECT_THAT(message({made("w.values", Dtype::F32, {6}, {1, 2, 3, 4, 5, 6})}, matrix),
              testing::HasSubstr("'w.values' is F32 [6]; expected F32 [2, 3]"));
}

TEST_F(DeltaTest, DenseOnesAreThemselves) {
  Metadata metadata = delta_metadata({DeltaKind::Dense, {"models/base", "b1"}, {"models/ft", "f1"}, R"({"dtype":"F32"})"});
  const auto delta = folder_.write("tv.safetensors", {made("w", Dtype::F32, {1}, {3})}, metadata);
  EXPECT_TRUE(delta->manifest().delta);
  EXPECT_TRUE(delta->entry("w").as_is);
  const auto info = delta_info(*delta);
  EXPECT_EQ(info->base.path, "models/base");
  EXPECT_EQ(info->finetuned.fingerprint, "f1");
  EXPECT_EQ(info->options, R"({"dtype":"F32"})");
}

/// A packed file with something wrong about it.
struct BadDelta {
  const char* what;
  std::vector<Made> tensors;
  Metadata metadata;
  const char* message;
};

std::vector<Made> sparse(const std::vector<uint32_t>& positions, Dtype values = Dtype::F32) {
  const auto n = static_cast<int64_t>(positions.size());
  return {made_of_bits("w.indices", Dtype::U32, {n}, positions),
          made("w.values", values, {n}, std::vector<double>(positions.size(), 1))};
}

std::vector<Made> sign(double scale, int64_t bytes = 1) {
  return {made_of_bits("w.bits", Dtype::U8, {bytes}, std::vector<uint8_t>(static_cast<size_t>(bytes))),
          made("w.scale", Dtype::F32, {}, {scale})};
}

constexpr const char* kFour = R"([{"name":"w","dtype":"F32","shape":[4]}])";

std::vector<BadDelta> bad_deltas() {
  const auto sparse_of = [](std::string tensors) { return metadata_of(DeltaKind::Sparse, std::move(tensors)); };
  const auto sign_four = metadata_of(DeltaKind::Sign, kFour);
  return {
      {"position outside", sparse({1, 4}), sparse_of(kFour), "'w.indices' holds position 4 of a tensor of 4 elements"},
      {"position far outside", sparse({4'000'000'000}), sparse_of(kFour), "holds position 4000000000"},
      {"falling positions", sparse({2, 1}), sparse_of(kFour), "'w.indices' is not in rising order: 1 comes behind 2"},
      {"a position twice", sparse({1, 1}), sparse_of(kFour), "not in rising order: 1 comes behind 1"},
      {"values of another dtype", sparse({1}, Dtype::BF16), sparse_of(kFour), "'w.values' is BF16 [1]; expected F32 [1]"},
      {"fewer positions than values",
       {made_of_bits<uint32_t>("w.indices", Dtype::U32, {1}, {1}), made("w.values", Dtype::F32, {2}, {1, 2})},
       sparse_of(kFour),
       "'w.indices' is U32 [1]; expected U32 [2]"},
      {"no values", {sparse({1})[0], made("x", Dtype::F32, {1}, {0})}, sparse_of(kFour), "tensor 'w' has no part 'w.values'"},
      {"too many parts",
       {sparse({1})[0], sparse({1})[1], made("x", Dtype::F32, {1}, {0})},
       sparse_of(kFour),
       "1 tensors are described, in 2 parts, but 3 parts are there"},
      {"no descriptions", sparse({1}), sparse_of("nothing"), "its metadata have no list 'taskvec.delta.tensors'"},
      {"described twice", sparse({1}),
       sparse_of(R"([{"name":"w","dtype":"F32","shape":[4]},{"name":"w","dtype":"F32","shape":[4]}])"), "it is there twice"},
      {"integers", sparse({1}), sparse_of(R"([{"name":"w","dtype":"I32","shape":[4]}])"), "differences are floats"},
      {"unknown dtype", sparse({1}), sparse_of(R"([{"name":"w","dtype":"F99","shape":[4]}])"), "dtype 'F99' is unknown"},
      {"size overflows", sparse({1}), sparse_of(R"([{"name":"w","dtype":"F32","shape":[4611686018427387904,4]}])"), "overflow"},
      {"negative dimension", sparse({1}), sparse_of(R"([{"name":"w","dtype":"F32","shape":[-1]}])"), "-1 is no whole number"},
      {"2^64 - 1 elements", sparse({1}), sparse_of(R"([{"name":"w","dtype":"F32","shape":[18446744073709551615]}])"),
       "18446744073709551615 is no whole number"},
      {"more than memory holds", sparse({1}),
       sparse_of(R"([{"name":"v","dtype":"F32","shape":[4]},{"name":"w","dtype":"F32","shape":[1099511627776,4]}])"),
       "tensor 'w': 17592186044416 bytes; all tensors together may have 17592186044416"},
      {"no shape", sparse({1}), sparse_of(R"([{"name":"w","dtype":"F32"}])"), "no shape"},
      {"not an object", sparse({1}), sparse_of(R"([[[[]]]])"), "no 'name'"},
      {"NaN scale", sign(std::numeric_limits<double>::quiet_NaN()), sign_four, "'w.scale' is nan; expected a finite magnitude"},
      {"infinite scale", sign(1e300), sign_four, "'w.scale' is inf; expected a finite magnitude"},
      {"negative scale", sign(-1), sign_four, "'w.scale' is -1; expected a finite magnitude"},
      {"too few bits", sign(1, 1), metadata_of(DeltaKind::Sign, R"([{"name":"w","dtype":"F32","shape":[9]}])"),
       "'w.bits' is U8 [1]; expected U8 [2]"},
      {"signs of bfloat16", sign(1), metadata_of(DeltaKind::Sign, R"([{"name":"w","dtype":"BF16","shape":[4]}])"),
       "signs stand for F32"},
      {"unknown kind", sign(1), {{"taskvec.delta", "magic"}}, "is a task vector of kind 'magic'"},
      {"no base", sign(1), {{"taskvec.delta", "dense"}}, "'taskvec.delta.base' in its metadata has no 'path'"},
  };
}

TEST_F(DeltaTest, WhatIsWrongIsNamed) {
  for (const auto& bad : bad_deltas())
    EXPECT_THAT(message_of([&] { folder_.write("bad.safetensors", bad.tensors, bad.metadata); }), HasSubstr(bad.message))
        << bad.what;
}

/// A lossless file of one tensor `w` of four bytes, over a base of zeros.
struct Lossless {
  std::vector<std::byte> frame = compress_planes(1, {}, std::vector<std::byte>(4, std::byte{7}));
  std::vector<uint64_t> table{frame.size(), hash_chunk(frame)};
  std::string described = R"([{"name":"w","dtype":"U8","shape":[4]}])", sidecars = "[]", metadata = "{}";
  std::vector<Made> more{};

  std::vector<Made> tensors() const {
    std::vector<Made> list{
        made_of_bits("w.chunks", Dtype::U64, {static_cast<int64_t>(table.size() / 2), 2}, table),
        {"w.planes", {Dtype::U8, {static_cast<int64_t>(frame.size())}}, frame},
    };
    list.insert(list.end(), more.begin(), more.end());
    return list;
  }
  std::string error(const CheckpointFolder& folder) const {
    const auto delta = folder.write("tv.safetensors", tensors(),
                                    metadata_of(DeltaKind::Lossless, described,
                                                {{"taskvec.delta.metadata", metadata}, {"taskvec.delta.sidecars", sidecars}}));
    return message_of([&] {
      const auto lossless = read_lossless(*delta);
      std::vector<std::byte> out(4);
      restore_chunk(*delta, lossless.tensors.at(0), 0, std::vector<std::byte>(4), out);
      if (out != std::vector<std::byte>(4, std::byte{7})) throw Error(ErrorCode::Format, "wrong bytes");
    });
  }
};

TEST_F(DeltaTest, VerifyReadsEveryChunkOfALosslessFile) {
  const auto problems = [&](const Lossless& file) {
    file.error(folder_);
    return verify(folder_ / "tv.safetensors").problems;
  };
  Lossless sound, flipped, bomb;
  EXPECT_THAT(problems(sound), testing::IsEmpty());
  flipped.frame.back() ^= std::byte{1};
  EXPECT_THAT(problems(flipped), ElementsAre(HasSubstr("chunk 0 of tensor 'w' is damaged: expected checksum")));
  bomb.frame = compress_planes(1, {}, std::vector<std::byte>(1 << 20));
  bomb.table = {bomb.frame.size(), hash_chunk(bomb.frame)};
  EXPECT_THAT(problems(bomb), ElementsAre(HasSubstr("chunk 0 of tensor 'w' is no zstd frame of 4 bytes")));
  sound.sidecars = "nothing";
  EXPECT_THAT(problems(sound), ElementsAre(HasSubstr("'taskvec.delta.sidecars' in its metadata is not what taskvec writes")));
}

TEST_F(DeltaTest, LosslessFilesAreCheckedInFull) {
  EXPECT_EQ(Lossless{}.error(folder_), "no error");
  const size_t size = Lossless{}.frame.size();
  const auto with = [&](auto change) {
    Lossless file;
    change(file);
    return file.error(folder_);
  };
  EXPECT_THAT(with([](Lossless& f) { f.frame[5] ^= std::byte{1}; }), HasSubstr("chunk 0 of tensor 'w' is damaged: expected"));
  EXPECT_THAT(with([](Lossless& f) { f.table[0] = uint64_t{1} << 63; }),
              HasSubstr(fmt::format("chunk 0 of tensor 'w' has 9223372036854775808 bytes, but {} are left", size)));
  EXPECT_THAT(with([](Lossless& f) { f.table[0] -= 1; }), HasSubstr("the chunks of tensor 'w' have"));
  EXPECT_THAT(with([](Lossless& f) { f.table.insert(f.table.end(), {0, 0}); }), HasSubstr("'w.chunks' is U64 [2, 2]; expected"));
  EXPECT_THAT(with([](Lossless& f) {
                f.frame = compress_planes(1, {}, std::vector<std::byte>(1 << 20));  // a megabyte for a tensor of four bytes
                f.table = {f.frame.size(), hash_chunk(f.frame)};
              }),
              HasSubstr("is no zstd frame of 4 bytes"));
  EXPECT_THAT(with([](Lossless& f) { f.described = R"([{"name":"v","dtype":"U8","shape":[4]}])"; }),
              HasSubstr("2 parts are there, but 0 are described"));
  EXPECT_THAT(with([](Lossless& f) { f.described = R"([{"name":"v","dtype":"U8","shape":[4],"whole":true}])"; }),
              HasSubstr("tensor 'v' has no part 'v.planes'"));
  EXPECT_THAT(with([](Lossless& f) { f.described = R"([{"name":"w","dtype":"U8","shape":[4],"shard":-3}])"; }),
              HasSubstr("-3 is no whole number"));
  EXPECT_THAT(with([](Lossless& f) { f.metadata = R"({"a":1})"; }), HasSubstr("the value of 'a' is no text"));
  EXPECT_THAT(with([](Lossless& f) { f.metadata = "{"; }), HasSubstr("'taskvec.delta.metadata' in its metadata is not"));
  EXPECT_THAT(with([](Lossless& f) { f.sidecars = R"([{"name":"a"}])"; }), HasSubstr("a sidecar has no 'fingerprint'"));
  for (const char* name : {"../x.json", "/etc/passwd", "..", ".", "", "a/b", "model.safetensors", "model.safetensors.index.json",
                           "pytorch_model.bin", "a\\u0000b"})
    EXPECT_THAT(with([&](Lossless& f) { f.sidecars = fmt::format(R"([{{"name":"{}","fingerprint":""}}])", name); }),
                HasSubstr("is no name for a file beside the weights"))
        << name;
  EXPECT_THAT(with([](Lossless& f) { f.sidecars = R"([{"name":"a","fingerprint":"","stored":true}])"; }),
              HasSubstr("sidecar 'a' has no part 'a.sidecar'"));
  EXPECT_THAT(with([](Lossless& f) {
                f.sidecars = R"([{"name":"a","fingerprint":"0","stored":true}])";
                f.more = {made_of_bits<uint8_t>("a.sidecar", Dtype::U8, {1}, {1})};
              }),
              HasSubstr("sidecar 'a' is damaged"));
}

}  // namespace
}  // namespace taskvec::formats
