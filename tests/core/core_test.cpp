#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/fingerprint.h"
#include "taskvec/core/glob.h"
#include "taskvec/core/parallel.h"
#include "taskvec/core/random.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

namespace taskvec {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Known answers of Random123's kat_vectors for philox4x32-10: counter and key all zero, and all ones.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(Philox(0, uint64_t{0}).block(0), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(~uint64_t{0}, ~uint64_t{0}).block(~uint64_t{0}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Philox, UniformIsInTheHalfOpenUnitInterval) {
  const Philox random(7, "a tensor");
  double sum = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const double value = random.uniform(i);
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);  // four standard errors are 0.012
}

// XXH3-128 of nothing, from the xxHash specification.
TEST(FingerprintTest, OfNothingIsTheSpecifications) { EXPECT_EQ(fingerprint(""), "99aa06d3014798d86001c324468d497f"); }

TEST(GlobTest, MatchesAsAShellDoes) {
  EXPECT_TRUE(Glob("vision_model.*").matches("vision_model.encoder.0"));
  EXPECT_FALSE(Glob("vision_model.*").matches("text_model.encoder.0"));
  EXPECT_TRUE(Glob("*.layers.[0-3].*").matches("a.layers.2.b"));
  EXPECT_FALSE(Glob("*.layers.[!0-3].*").matches("a.layers.2.b"));
  EXPECT_TRUE(Glob("{a,b?}x").matches("bcx"));
  EXPECT_FALSE(Glob("{a,b?}x").matches("bx"));
  EXPECT_THROW(Glob("[a"), Error);
  EXPECT_THROW(Glob("{a"), Error);
}

TEST(Nearest, SuggestsMisspellingsOnly) {
  const std::vector<std::string> names{"mnist", "fashion-mnist"};
  EXPECT_EQ(nearest("mnsit", names), "mnist");
  EXPECT_EQ(nearest("glyphs", names), "");
}

TEST(ParallelFor, CallsEveryIndexOnceAndRethrows) {
  for (const int threads : {1, 2, 7}) {
    set_thread_count(threads);
    std::vector<std::atomic<int>> calls(1000);
    parallel_for(1000, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
    for (const auto& count : calls) ASSERT_EQ(count, 1);
    EXPECT_THROW(parallel_for(100,
                              [](int64_t i) {
                                if (i == 50) fail(ErrorCode::Numeric, "stop");
                              }),
                 Error);
  }
  set_thread_count(0);
}

class AtomicFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "atomic_file_test.XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(AtomicFileTest, KeepsTheOldFileUntilCommit) {
  write_file_atomically(folder_ / "f", "old");
  {
    AtomicFile file(folder_ / "f", 3);
    file.write_at(0, std::as_bytes(std::span(std::string_view("new"))));
    EXPECT_EQ(read_file(folder_ / "f"), "old");
  }
  EXPECT_EQ(read_file(folder_ / "f"), "old");
  write_file_atomically(folder_ / "f", "newer");
  EXPECT_EQ(read_file(folder_ / "f"), "newer");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(AtomicFileTest, HasNoNameBeforeCommit) {
  AtomicFile file(folder_ / "f", 1);
  EXPECT_TRUE(fs::is_empty(folder_));
  file.commit();
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(AtomicFileTest, DoesNotReplaceWhatAppearedMeanwhile) {
  AtomicFile file(folder_ / "f", 1);
  write_file_atomically(folder_ / "f", "somebody's");
  EXPECT_THAT(message_of([&] { file.commit(); }), HasSubstr("appeared while this was running"));
  EXPECT_EQ(read_file(folder_ / "f"), "somebody's");
}

TEST_F(AtomicFileTest, KeepsTheModeOfWhatItReplaces) {
  write_file_atomically(folder_ / "f", "private");
  fs::permissions(folder_ / "f", fs::perms::owner_read | fs::perms::owner_write);
  write_file_atomically(folder_ / "f", "still private");
  EXPECT_EQ(fs::status(folder_ / "f").permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(AtomicFileTest, NeverReplacesLinksPipesAndFolders) {
  write_file_atomically(folder_ / "target", "kept");
  fs::create_symlink("target", folder_ / "link");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder_ / "folder");
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "link", "x"); }), HasSubstr("is a symbolic link"));
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "pipe", "x"); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "folder", "x"); }), HasSubstr("a folder of that name"));
  EXPECT_THAT(message_of([&] { write_file_atomically(folder_ / "no" / "x", "x"); }), HasSubstr("there is no folder"));
  EXPECT_EQ(read_file(folder_ / "target"), "kept");
}

// Whatever has a name like a temporary's is only ours with our marker in it.
TEST_F(AtomicFileTest, RemovesLeftFoldersOfOursAlone) {
  const auto folder = [&](const char* name, const char* file) {
    fs::create_directory(folder_ / name);
    write_file_atomically(folder_ / name / file, "x");
  };
  folder(".out.taskvec-abcdef", ".taskvec-temporary");
  folder(".out.taskvec-backup", "thesis.txt");
  folder(".out.taskvec-nested", ".taskvec-temporary");
  fs::create_directory(folder_ / ".out.taskvec-nested" / "mine");
  write_file_atomically(folder_ / ".out.taskvec-backuq", "a file");
  ASSERT_EQ(::mkfifo((folder_ / ".out.taskvec-fifofi").c_str(), 0600), 0);
  { const AtomicFolder out(folder_ / "out"); }
  EXPECT_FALSE(fs::exists(folder_ / ".out.taskvec-abcdef"));
  EXPECT_TRUE(fs::exists(folder_ / ".out.taskvec-backup" / "thesis.txt"));
  EXPECT_TRUE(fs::exists(folder_ / ".out.taskvec-nested" / "mine"));
  EXPECT_EQ(read_file(folder_ / ".out.taskvec-backuq"), "a file");
}

// A file that replaces another has a name for a moment, in such a folder; a kill then leaves the folder with the file or empty.
TEST_F(AtomicFileTest, AReplacementRemovesWhatAKilledOneLeft) {
  write_file_atomically(folder_ / "f", "old");
  for (const char* name : {".f.taskvec-abcdef", ".f.taskvec-empty1", ".f.taskvec-mine12"}) fs::create_directory(folder_ / name);
  write_file_atomically(folder_ / ".f.taskvec-abcdef" / ".taskvec-temporary", "");
  write_file_atomically(folder_ / ".f.taskvec-abcdef" / "f", "half");
  write_file_atomically(folder_ / ".f.taskvec-mine12" / "f", "mine");
  write_file_atomically(folder_ / "f", "new");
  EXPECT_EQ(read_file(folder_ / "f"), "new");
  EXPECT_EQ(read_file(folder_ / ".f.taskvec-mine12" / "f"), "mine");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 2);
}

TEST_F(AtomicFileTest, AFolderThatGotASubFolderMeanwhileStays) {
  fs::create_directory(folder_ / "out");
  write_file_atomically(folder_ / "out" / "old", "old");
  AtomicFolder out(folder_ / "out");
  write_file_atomically(out.path() / "new", "new");
  fs::create_directory(folder_ / "out" / "mine");
  EXPECT_THAT(message_of([&] { out.commit(); }), HasSubstr("holds more than files"));
  EXPECT_EQ(read_file(folder_ / "out" / "old"), "old");
  EXPECT_FALSE(fs::exists(folder_ / "out" / "new"));
}

TEST_F(AtomicFileTest, ManyWritersOfOneFileDoNotTakeEachOthersTemporaries) {
  std::vector<std::jthread> writers;
  std::atomic<int> failed{0};
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    writers.emplace_back([&, letter] {
      for (int i = 0; i < 200; ++i) {
        try {
          write_file_atomically(folder_ / "f", std::string(3, letter));
        } catch (const Error&) {
          ++failed;
        }
      }
    });
  }
  writers.clear();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(read_file(folder_ / "f").size(), 3);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(AtomicFileTest, AnImpossibleSizeSaysSo) {
  try {
    AtomicFile(folder_ / "f", uint64_t{1} << 60);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("cannot write"));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(AtomicFileTest, AFolderReplacesTheOldOneWhole) {
  for (const char* contents : {"one", "two"}) {
    AtomicFolder folder(folder_ / "d");
    write_file_atomically(folder.path() / "f", contents);
    folder.commit();
    EXPECT_EQ(read_file(folder_ / "d" / "f"), contents);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace taskvec
