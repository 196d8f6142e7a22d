// Every format, spoilt in every place: cut off, bits flipped, sizes and numbers that no file has. Whatever comes of it is either
// an error of taskvec's own or a checkpoint that can be read to its end; never a crash, a wait or memory without bounds.
#include "taskvec/formats/delta/lossless.h"
#include "tests/formats/memory_limit.h"
#include "tests/formats/samples.h"

#include <gmock/gmock.h>

#include <cctype>

namespace taskvec::formats {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMemory = uint64_t{1} << 30;

std::string text(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// All that a lossless task vector restores over zeros.
std::string restored(const Checkpoint& delta) {
  std::string out;
  const LosslessDelta lossless = read_lossless(delta);
  for (const auto& tensor : lossless.tensors) {
    for (size_t chunk = 0; chunk < tensor.chunks.size(); ++chunk) {
      const auto begin = static_cast<int64_t>(chunk) * kHashChunk;
      std::vector<std::byte> bytes(static_cast<size_t>(std::min(kHashChunk, tensor.described.info.nbytes() - begin)));
      restore_chunk(delta, tensor, chunk, std::vector<std::byte>(bytes.size()), bytes);
      out += text(bytes);
    }
  }
  for (const auto& sidecar : lossless.sidecars) out += sidecar.name + text(sidecar.bytes);
  return out;
}

/// What a checkpoint holds: names, dtypes, shapes, and bytes (of large tensors the first and the last).
std::string contents(const fs::path& path) {
  constexpr uint64_t kLarge = uint64_t{1} << 20;
  const auto checkpoint = open(path);
  std::string out = checkpoint->manifest().format;
  for (const auto& entry : checkpoint->manifest().tensors) {
    out += fmt::format("\n{} {} {} ", entry.name, name(entry.info.dtype), to_string(entry.info.shape));
    const auto size = static_cast<uint64_t>(entry.info.nbytes()), part = size <= kLarge ? size : 64;
    for (const uint64_t begin : {uint64_t{0}, size - part}) {
      const TensorRange range(*checkpoint, entry, begin, part);
      out += text(range.bytes());
    }
  }
  const auto info = delta_info(*checkpoint);
  return info && info->kind == DeltaKind::Lossless ? out + restored(*checkpoint) : out;
}

class Mutation : public testing::TestWithParam<Sample> {
 protected:
  void SetUp() override {
    path_ = GetParam().write(folder_ / "");
    whole_ = contents(path_);
    ASSERT_NE(whole_, "");
  }

  /// Reads the sample with one of its files replaced.
  /// @return the contents, "" where they are refused
  std::string with(const std::string& file, const std::string& bytes) const {
    std::ofstream(folder_ / file, std::ios::binary) << bytes;
    try {
      return contents(path_);
    } catch (const Error& error) {
      EXPECT_STRNE(error.what(), "");
      return "";
    }
  }

  /// Calls spoil(file, bytes) for every file, which is whole again afterwards.
  template <typename Spoil>
  void for_every_file(const Spoil& spoil) const {
    const MemoryLimit limit(kMemory);
    for (const auto& [file, bytes] : GetParam().files) {
      spoil(file, bytes);
      EXPECT_EQ(with(file, bytes), whole_);
    }
  }

  CheckpointFolder folder_;
  fs::path path_;
  std::string whole_;
};

TEST_P(Mutation, CutOffAnywhereItIsRefusedOrReadsTheSame) {
  for_every_file([&](const std::string& file, const std::string& bytes) {
    for (size_t size = 0; size < bytes.size(); ++size)
      EXPECT_THAT(with(file, bytes.substr(0, size)), testing::AnyOf("", whole_)) << file << " after " << size << " bytes";
  });
}

TEST_P(Mutation, AnyByteMayBeAnother) {
  for_every_file([&](const std::string& file, const std::string& bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (const int flip : {0x01, 0x80, 0xFF}) {
        std::string spoilt = bytes;
        spoilt[i] = static_cast<char>(spoilt[i] ^ flip);
        with(file, spoilt);
      }
    }
  });
}

TEST_P(Mutation, AnySizeMayBeHuge) {
  const std::vector<std::string> sizes{raw(uint32_t{1} << 31),       raw(~uint32_t{0}),      raw(uint64_t{1} << 32),
                                       raw((uint64_t{1} << 63) - 1), raw(uint64_t{1} << 63), raw(~uint64_t{0})};
  for_every_file([&](const std::string& file, const std::string& bytes) {
    for (size_t i = 0; i < bytes.size(); ++i)
      for (const auto& size : sizes)
        if (size.size() <= bytes.size() - i) with(file, std::string(bytes).replace(i, size.size(), size));
  });
}

/// The bytes with `value` in place of text [begin, end) of a header whose length they say in front.
std::string replaced(const Sample& sample, std::string bytes, size_t begin, size_t end, const std::string& value) {
  bytes.replace(begin, end - begin, value);
  const auto grown = value.size() - (end - begin);
  const auto adjust = [&](auto length, size_t at) {
    std::memcpy(&length, bytes.data() + at, sizeof length);
    length = static_cast<decltype(length)>(length + grown);
    std::memcpy(bytes.data() + at, &length, sizeof length);
  };
  if (bytes.size() > 8 && bytes[8] == '{') adjust(uint64_t{}, 0);
  if (sample.name == "npy") adjust(uint16_t{}, 8);
  if (sample.name == "npy_fortran") adjust(uint32_t{}, 8);
  return bytes;
}

// Headers of text: numbers out of every range, and values nested 100,000 levels deep in their place.
TEST_P(Mutation, AnyNumberOfItsTextMayBeAnything) {
  std::vector<std::string> values{"-1",
                                  "2147483648",
                                  "4294967296",
                                  "9223372036854775807",
                                  "9223372036854775808",
                                  "1.5",
                                  "18446744073709551615",
                                  "18446744073709551616",
                                  "1e999",
                                  "null",
                                  "\"\""};
  values.push_back(std::string(20'000, '['));
  values.push_back(std::string(20'000, '[') + std::string(20'000, ']'));
  for_every_file([&](const std::string& file, const std::string& bytes) {
    for (size_t begin = 0; begin < bytes.size(); ++begin) {
      size_t end = begin;
      while (end < bytes.size() && std::isdigit(static_cast<unsigned char>(bytes[end]))) ++end;
      for (const auto& value : values)
        if (end > begin) with(file, replaced(GetParam(), bytes, begin, end, value));
      begin = end;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Of, Mutation, testing::ValuesIn(all_samples()), [](const auto& sample) { return sample.param.name; });

}  // namespace
}  // namespace taskvec::formats
