#include "taskvec/formats/zip.h"

#include "taskvec/core/error.h"
#include "tests/formats/builders/zip_builder.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace taskvec::formats {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ZipTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zip_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::shared_ptr<const MappedFile> map(const std::string& bytes) const {
    std::ofstream(folder_ / "x.zip", std::ios::binary) << bytes;
    return MappedFile::open(folder_ / "x.zip");
  }

  std::string error_of(const std::string& bytes) const {
    const auto file = map(bytes);
    return message_of([&] {
      for (const auto& entry : read_zip_directory(*file))
        if (entry.deflated) inflate(*file, entry);
    });
  }

  fs::path folder_;
};

std::string text(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Written by CPython 3.11: zipfile.ZipFile(f, "w").writestr(zipfile.ZipInfo("a/b"), "hello", compress_type=ZIP_DEFLATED)
constexpr unsigned char kByPython[] = {
    0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x86, 0xa6, 0x10, 0x36, 0x07,
    0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x61, 0x2f, 0x62, 0xcb, 0x48, 0xcd, 0xc9, 0xc9,
    0x07, 0x00, 0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x00, 0x86,
    0xa6, 0x10, 0x36, 0x07, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x61, 0x2f, 0x62, 0x50, 0x4b, 0x05, 0x06, 0x00, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x31, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00};

TEST_F(ZipTest, ReadsPythonsBytes) {
  const auto file = map(std::string(reinterpret_cast<const char*>(kByPython), sizeof kByPython));
  const auto entries = read_zip_directory(*file);
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].name, "a/b");
  EXPECT_EQ(text(inflate(*file, entries[0])), "hello");
}

TEST_F(ZipTest, StoredDeflatedAndZip64EntriesInOrderOfTheirBytes) {
  for (const bool end64 : {false, true}) {
    ZipBuilder zip;
    zip.store("z/data.pkl", "stored");
    zip.deflate("a", std::string(100'000, 'x'));
    zip.store("folder/", "");
    zip.store("wide", "zip64").zip64 = true;
    zip.store("empty", "");
    const auto file = map(zip.bytes(end64));
    const auto entries = read_zip_directory(*file);
    ASSERT_EQ(entries.size(), 4U);
    EXPECT_EQ(entries[0].name, "z/data.pkl");
    EXPECT_EQ(text(file->bytes().subspan(entries[0].offset, entries[0].size)), "stored");
    EXPECT_TRUE(crc_matches(*file, entries[0]));
    EXPECT_TRUE(entries[1].deflated);
    EXPECT_EQ(text(inflate(*file, entries[1])), std::string(100'000, 'x'));
    EXPECT_EQ(text(file->bytes().subspan(entries[2].offset, entries[2].size)), "zip64");
    EXPECT_EQ(entries[3].size, 0U);
  }
}

TEST_F(ZipTest, SizesBehindTheDataAreBelievedFromTheDirectory) {
  ZipBuilder zip;
  zip.store("a", "data").flags = 8;
  std::string bytes = zip.bytes();
  for (size_t i = 18; i < 26; ++i) bytes[i] = 0;
  EXPECT_EQ(read_zip_directory(*map(bytes))[0].size, 4U);
}

TEST_F(ZipTest, AWrongCrcOfAStoredEntryIsSeen) {
  ZipBuilder zip;
  zip.store("a", "data").crc ^= 1;
  const auto file = map(zip.bytes());
  EXPECT_FALSE(crc_matches(*file, read_zip_directory(*file)[0]));
}

TEST_F(ZipTest, EveryTruncationIsAnError) {
  ZipBuilder zip;
  zip.store("a", "stored");
  zip.deflate("b", "deflated");
  const std::string bytes = zip.bytes(true);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_THAT(error_of(bytes.substr(0, size)), HasSubstr("x.zip")) << size;
  EXPECT_EQ(error_of(bytes), "no error");
}

// Whatever byte is spoilt, the directory either stays readable or is refused; entries never leave the file.
TEST_F(ZipTest, EveryFlippedByteIsAnErrorOrHarmless) {
  ZipBuilder zip;
  zip.store("a", "stored").zip64 = true;
  zip.deflate("b", "deflated");
  const std::string bytes = zip.bytes(true);
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string spoilt = bytes;
      spoilt[i] = static_cast<char>(spoilt[i] ^ flip);
      const auto file = map(spoilt);
      try {
        for (const auto& entry : read_zip_directory(*file)) {
          EXPECT_LE(entry.offset + entry.compressed, bytes.size());
          if (entry.deflated) inflate(*file, entry);
        }
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("x.zip"));
      }
    }
  }
}

struct BadZip {
  std::function<std::string()> make;
  const char* message;
};

class BadZipTest : public ZipTest, public testing::WithParamInterface<BadZip> {};

TEST_P(BadZipTest, IsRefusedWithTheRule) { EXPECT_THAT(error_of(GetParam().make()), HasSubstr(GetParam().message)); }

std::string one(
    const std::string& name, const std::function<void(ZipBuilder::File&)>& spoil = [](auto&) {}) {
  ZipBuilder zip;
  spoil(zip.store(name, "data"));
  return zip.bytes();
}

std::string bomb(uint64_t declared) {
  ZipBuilder zip;
  zip.deflate("a", std::string(1000, '\0')).size = declared;
  return zip.bytes();
}

std::string patched(std::string bytes, size_t from_end, uint32_t value) {
  std::memcpy(bytes.data() + bytes.size() - from_end, &value, 4);
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BadZipTest,
    testing::Values(
        BadZip{[] { return one("../a"); }, "'../a' in the zip directory reaches out of its folder"},
        BadZip{[] { return one("a/../../b"); }, "reaches out of its folder"}, BadZip{[] { return one("/a"); }, "reaches out"},
        BadZip{[] { return one("a\\..\\b"); }, "reaches out"}, BadZip{[] { return one("C:a"); }, "reaches out"},
        BadZip{[] { return one(std::string("a\0b", 3)); }, "is not UTF-8 text"},
        BadZip{[] { return one("\xff\xfe"); }, "is not UTF-8 text"}, BadZip{[] { return one(""); }, "reaches out"},
        BadZip{[] { return one(std::string(5000, 'a')); }, "a name of 5000 bytes in the zip directory; at most 4096"},
        BadZip{[] { return one("a", [](auto& file) { file.flags = 1; }); }, "'a' is encrypted"},
        BadZip{[] { return one("a", [](auto& file) { file.method = 12; }); }, "'a' is compressed by zip method 12"},
        BadZip{[] { return one("a", [](auto& file) { file.size = 5; }); }, "is stored, but has two sizes: 4 and 5"},
        BadZip{[] { return one("a", [](auto& file) { file.local_name = "b"; }); }, "does not say the same as the zip directory"},
        BadZip{[] { return one("a", [](auto& file) { file.local_shift = 2; }); }, "no header of 'a' at 2"},
        BadZip{[] { return one("a", [](auto& file) { file.local_shift = 0x7fffffff; }); }, "it may be truncated"},
        BadZip{[] { return one("a/"); }, "the folder 'a/' has 4 bytes"},
        BadZip{[] { return one("a") + "behind"; }, "no directory at its end"},
        BadZip{[] { return "before" + one("a"); }, "its end record lies at"},
        BadZip{[] { return patched(one("a"), 18, 1); }, "split over several files"},
        BadZip{[] { return patched(one("a"), 12, 0xffffff00); }, "the zip directory should be"},
        BadZip{[] { return bomb(uint64_t{1} << 31); }, "more than deflate can; a zip bomb?"},
        BadZip{[] { return bomb(999); }, "does not inflate from"}, BadZip{[] { return bomb(1001); }, "does not inflate from"},
        BadZip{[] {
                 ZipBuilder zip;
                 zip.deflate("a", "data").crc ^= 1;
                 return zip.bytes();
               },
               "another CRC"},
        BadZip{[] {
                 ZipBuilder zip;
                 zip.store("a", "data");
                 zip.store("a", "data");
                 return zip.bytes();
               },
               "'a' is in the zip archive twice"},
        BadZip{[] {
                 // b's local header lies inside a's data, where a reader that trusts the directory would find it.
                 ZipBuilder inner, outer;
                 inner.store("b", "data");
                 const std::string local = inner.bytes().substr(0, 35);
                 outer.store("a", local);
                 auto& file = outer.store("b", "data");
                 file.local_shift = static_cast<uint32_t>(-35);
                 return outer.bytes();
               },
               "'a' overlaps what comes behind it"}));

}  // namespace
}  // namespace taskvec::formats
