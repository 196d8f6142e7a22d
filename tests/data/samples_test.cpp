#include "taskvec/core/files/atomic_file.h"
#include "taskvec/data/dataset.h"
#include "tests/message_of.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// Samples as people have them on their disks.
class Samples : public testing::Test {
 protected:
  Samples()
      : folder_(fs::temp_directory_path() / fmt::format("taskvec-samples-{}", ::getpid()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Samples() override { fs::remove_all(folder_); }

  Task task(const std::string& text) {
    write_file_atomically(folder_ / "t.yaml", text);
    return load_task((folder_ / "t.yaml").string());
  }
  std::string error_of(const std::string& text) {
    return message_of([&] { open_dataset(task(text), Split::Test); });
  }
  static std::string png(uint8_t gray) {
    const auto bytes = encode_png({2, 2, 1, std::vector<uint8_t>(4, gray)});
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void put(const fs::path& path, const std::string& bytes) {
    fs::create_directories((folder_ / path).parent_path());
    write_file_atomically(folder_ / path, bytes);
  }
  /// train/CLASS/N.png and test/CLASS/N.png, filled with the class's place in the list.
  void folders(const std::vector<std::string>& classes) {
    for (const char* split : {"train", "test"})
      for (size_t c = 0; c < classes.size(); ++c)
        for (int i = 0; i < 3; ++i) put(fmt::format("{}/{}/{}.png", split, classes[c], i), png(static_cast<uint8_t>(c)));
  }
  void tar(const std::string& name, const std::vector<std::pair<std::string, std::string>>& members) {
    archive* out = archive_write_new();
    archive_write_set_format_ustar(out);
    ASSERT_EQ(archive_write_open_filename(out, (folder_ / name).c_str()), ARCHIVE_OK);
    for (const auto& [member, bytes] : members) {
      archive_entry* entry = archive_entry_new();
      archive_entry_set_pathname(entry, member.c_str());
      archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_write_header(out, entry);
      archive_write_data(out, bytes.data(), bytes.size());
      archive_entry_free(entry);
    }
    archive_write_free(out);
  }

  fs::path folder_;
};

constexpr const char* kFolders = "source: {folder: {train: train, test: test}}\n";

TEST_F(Samples, LinksOutOfAnImageFolderAreRefused) {
  folders({"fish", "house"});
  const std::string both = std::string(kFolders) + "classes: [fish, house]\n";
  fs::create_symlink("0.png", folder_ / "test" / "fish" / "inner.png");
  EXPECT_EQ(open_dataset(task(both), Split::Test)->size(), 7);
  put("elsewhere/secret.png", png(9));
  fs::create_symlink(folder_ / "elsewhere" / "secret.png", folder_ / "test" / "fish" / "outer.png");
  EXPECT_THAT(error_of(both), HasSubstr("outer.png is a symbolic link to "));
  fs::remove(folder_ / "test" / "fish" / "outer.png");
  fs::remove_all(folder_ / "test" / "house");
  fs::create_directory_symlink(folder_ / "elsewhere", folder_ / "test" / "house");
  EXPECT_THAT(error_of(both), HasSubstr("house is a symbolic link to "));
}

TEST_F(Samples, FoldersAndClassesAreJoinedByName) {
  folders({"fish", "house", "ladder", "smiley"});
  const Task by_name = task(std::string(kFolders) + "classes: [house, Smiley, ladder, fish]\n");
  const auto data = open_dataset(by_name, Split::Test);
  ASSERT_EQ(data->size(), 12);
  for (int64_t i = 0; i < data->size(); ++i) {
    const int64_t label = data->image(i).pixels[0] == 0   ? 3
                          : data->image(i).pixels[0] == 1 ? 0
                          : data->image(i).pixels[0] == 2 ? 2
                                                          : 1;
    EXPECT_EQ(data->label(i), label);
  }
  EXPECT_THAT(task(kFolders).classes, ElementsAre("fish", "house", "ladder", "smiley"));
  EXPECT_THAT(
      error_of(std::string(kFolders) + "classes: [house, smiley, ladder, cat]\n"),
      AllOf(HasSubstr("no folder is called 'cat'"), HasSubstr("fish = house, house = smiley"), HasSubstr("'folders: [...]'")));
  EXPECT_THAT(error_of(std::string(kFolders) + "classes: [house, smiley, ladder]\n"), HasSubstr("4 class folders and 3 classes"));
  // What is found when the images are opened is at its line of the file, too.
  EXPECT_THAT(error_of("classes: [house, smiley, ladder, cat]\n\n\nsource:\n  folder: {train: train, test: test}\n"),
              HasSubstr(".yaml:5: "));
  // Names that have nothing in common are a code for the classes; said, and taken in order.
  testing::internal::CaptureStderr();
  EXPECT_EQ(open_dataset(task(std::string(kFolders) + "classes: [a, b, c, d]\n"), Split::Test)->size(), 12);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("fish = a, house = b, ladder = c, smiley = d"));
}

TEST_F(Samples, HiddenEntriesAreSkippedAndOthersCounted) {
  folders({"a", "b"});
  put("train/.thumbs/0.png", "x");
  put("test/a/._0.png", "x");
  put("test/__MACOSX/0.png", "x");
  put("test/a/notes.txt", "x");
  testing::internal::CaptureStderr();
  EXPECT_EQ(open_dataset(task(kFolders), Split::Test)->size(), 6);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("1 files and folders are no images"), HasSubstr("notes.txt")));
}

TEST_F(Samples, WebDatasetNamesInAnyCaseAndWithDots) {
  tar("a.tar",
      {{"s0.PNG", png(1)}, {"s0.CLS", "0"}, {"22.05.png", png(2)}, {"22.05.cls", "1"}, {"s0.json", "{}"}, {"._s0.png", "x"}});
  testing::internal::CaptureStderr();
  const auto data = open_dataset(task("source: {webdataset: {train: a.tar, test: a.tar}}\nclasses: [a, b]\n"), Split::Test);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), AllOf(HasSubstr("2 members"), HasSubstr("s0.json")));
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->image(1).pixels[0], 2);
  EXPECT_EQ(data->label(1), 1);
}

TEST_F(Samples, PipesAndBombsAreRefusedAtOnce) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of("source: {idx: {folder: ., train: [pipe, pipe], test: [pipe, pipe]}}\nclasses: [a, b]\n"),
              HasSubstr("is not a regular file"));
  EXPECT_THAT(error_of("source: {webdataset: {train: pipe, test: pipe}}\nclasses: [a, b]\n"), HasSubstr("is not a regular file"));
  put("huge", std::string("\0\0\x08\x03\x7f\0\0\0\0\0\xff\0\0\0\xff\0", 16));
  EXPECT_THAT(error_of("source: {idx: {folder: ., train: [huge, huge], test: [huge, huge]}}\nclasses: [a, b]\n"),
              HasSubstr("in a file of 16 bytes"));
  std::string ranges;
  for (int i = 0; i < 2000; ++i) ranges += "\"0-2710\",";
  EXPECT_THAT(error_of("source: {glyphs: {ranges: [" + ranges + "]}}"), HasSubstr("is in two ranges"));
  EXPECT_THAT(
      error_of("source: {glyphs: {ranges: [\"10000-12000\", \"4e00-7000\", \"7001-9000\", \"ac00-d000\", \"a000-a400\"]}}"),
      HasSubstr("more than 20000 characters"));
  EXPECT_THAT(error_of(std::string(100'000, '[')), HasSubstr("nested more than"));
}

TEST_F(Samples, APictureOfMorePixelsThanItsFileCanHoldIsRefused) {
  const auto decode = [](const std::string& bytes) {
    return message_of([&] { decode_image(std::as_bytes(std::span(bytes)), "x"); });
  };
  std::string header("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x34\x41\0\0\x34\x41\x08\x02\0\0\0\x41\x02\x5a\x7a", 33);
  EXPECT_THAT(decode(header), HasSubstr("x: not a readable PNG"));
  EXPECT_THAT(decode("P6\n13000 13000\n255\n"), HasSubstr("13000 x 13000 pixels in 19 bytes is refused"));
  EXPECT_THAT(decode("P6\n2 2\n255\nshort"), HasSubstr("broken"));
  EXPECT_THAT(decode("RIFF\x10\0\0\0WEBPVP8 ...."), HasSubstr("WebP"));
  EXPECT_THAT(decode("BMxxxxxxxxxxxxxxxxxxxx"), HasSubstr("not a readable BMP"));
  // 65,535 x 247 pixels of one bit in 34 bytes, under OS/2's short header.
  EXPECT_THAT(decode(std::string("BMF\0005\0\0(\0@\0\0\0\0\014\0\0\0\377\377\367\0\1\0\1\0\0\0\0\0\3\0\0\0\0", 34)),
              HasSubstr("the file ends before the picture does"));
}

}  // namespace
}  // namespace taskvec::data
