#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/core/parallel.h"
#include "taskvec/data/ahead.h"
#include "taskvec/data/dataset.h"
#include "taskvec/data/fonts.h"
#include "tests/message_of.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

namespace taskvec::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class Tasks : public testing::Test {
 protected:
  Tasks()
      : folder_(fs::temp_directory_path() / fmt::format("taskvec-data-{}", ::getpid()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Tasks() override { fs::remove_all(folder_); }

  std::string write_task(const std::string& text) {
    write_file_atomically(folder_ / "t.yaml", text);
    return (folder_ / "t.yaml").string();
  }
  std::string error_of_task(const std::string& text) {
    return message_of([&] { load_task(write_task(text)); });
  }
  void write_png(const fs::path& path, uint8_t gray) {
    fs::create_directories(path.parent_path());
    const auto bytes = encode_png({2, 2, 1, std::vector<uint8_t>(4, gray)});
    write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  fs::path folder_;
};

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}
std::string idx_images(uint32_t n) {
  std::string text = std::string("\0\0\x08\x03", 4) + big_endian(n) + big_endian(2) + big_endian(2);
  for (uint32_t i = 0; i < n; ++i) text += std::string(4, static_cast<char>(i));
  return text;
}
std::string idx_labels(uint32_t n, uint32_t classes) {
  std::string text = std::string("\0\0\x08\x01", 4) + big_endian(n);
  for (uint32_t i = 0; i < n; ++i) text += static_cast<char>(i % classes);
  return text;
}
constexpr const char* kIdxTask = R"(
source: {idx: {folder: ., train: [a, b], test: [c, d], get: ask a friend}}
classes: [one, two]
)";

TEST_F(Tasks, IdxWithItsSplits) {
  for (const char* file : {"a", "c"}) write_file_atomically(folder_ / file, idx_images(40));
  for (const char* file : {"b", "d"}) write_file_atomically(folder_ / file, idx_labels(40, 2));
  const Task task = load_task(write_task(kIdxTask));
  EXPECT_EQ(missing(task), "");
  const auto train = open_dataset(task, Split::Train), val = open_dataset(task, Split::Val),
             test = open_dataset(task, Split::Test);
  EXPECT_EQ(train->size(), 36);
  EXPECT_EQ(val->size(), 4);
  EXPECT_EQ(test->size(), 40);
  std::set<uint8_t> seen;  // image i is filled with i: train and val share none and miss none
  for (const auto& part : {train, val}) {
    for (int64_t i = 0; i < part->size(); ++i) {
      const Image image = part->image(i);
      EXPECT_EQ(image.pixels[0] % 2, part->label(i));
      EXPECT_TRUE(seen.insert(image.pixels[0]).second);
    }
  }
  EXPECT_EQ(seen.size(), 40U);
  EXPECT_NE(train->fingerprint(), val->fingerprint());

  const auto few = open_dataset(task, Split::Test, 10), again = open_dataset(task, Split::Test, 10);
  EXPECT_EQ(few->size(), 10);
  EXPECT_EQ(few->fingerprint(), again->fingerprint());
}

TEST_F(Tasks, BrokenIdx) {
  const Task task = load_task(write_task(kIdxTask));
  EXPECT_THAT(missing(task), AllOf(HasSubstr("a is missing"), HasSubstr("ask a friend")));
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Train); }), HasSubstr("task 't'"));
  for (const char* file : {"a", "c"}) write_file_atomically(folder_ / file, idx_images(4));
  for (const char* file : {"b", "d"}) write_file_atomically(folder_ / file, idx_labels(4, 3));
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Train); }), HasSubstr("label 2, but the task 't' has 2 classes"));
  write_file_atomically(folder_ / "b", idx_labels(5, 2));
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Train); }), HasSubstr("5 labels for 4 images"));
  write_file_atomically(folder_ / "b", idx_labels(4, 1));
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Train); }),
              HasSubstr("the class 'two' has no images in the train split"));
  write_file_atomically(folder_ / "a", idx_images(4).substr(0, 20));
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Train); }), HasSubstr("not an IDX file"));
}

TEST_F(Tasks, ImageFolder) {
  for (const char* split : {"train", "test"}) {
    for (int i = 0; i < 12; ++i) write_png(folder_ / split / (i % 2 ? "y" : "x") / fmt::format("{}.png", i), i % 2 ? 200 : 100);
  }
  const std::string text = "source: {folder: {train: train, test: test}}\nclasses: [dark, light]\n";
  const auto data = open_dataset(load_task(write_task(text)), Split::Test);
  ASSERT_EQ(data->size(), 12);
  EXPECT_EQ(data->image(0).pixels[0], 100);
  EXPECT_EQ(data->label(11), 1);
  fs::remove_all(folder_ / "test" / "y");
  EXPECT_THAT(message_of([&] { open_dataset(load_task(write_task(text)), Split::Test); }),
              HasSubstr("class 'light' has no images"));
  write_file_atomically(folder_ / "train" / "x" / "0.png", "not a picture");
  const auto broken = open_dataset(load_task(write_task(text)), Split::Train);
  EXPECT_THAT(message_of([&] {
                for (int64_t i = 0; i < broken->size(); ++i) broken->image(i);
                open_dataset(load_task(write_task(text)), Split::Val)->image(0);
              }),
              AllOf(HasSubstr("0.png"), HasSubstr("neither JPEG, PNG, WebP")));
}

TEST_F(Tasks, WebDatasetTar) {
  const auto png = encode_png({2, 2, 1, {9, 9, 9, 9}});
  for (const char* name : {"train.tar", "test.tar"}) {
    archive* tar = archive_write_new();
    archive_write_set_format_ustar(tar);
    ASSERT_EQ(archive_write_open_filename(tar, (folder_ / name).c_str()), ARCHIVE_OK);
    const auto add = [&](const std::string& member, const void* bytes, size_t size) {
      archive_entry* entry = archive_entry_new();
      archive_entry_set_pathname(entry, member.c_str());
      archive_entry_set_size(entry, static_cast<la_int64_t>(size));
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_write_header(tar, entry);
      archive_write_data(tar, bytes, size);
      archive_entry_free(entry);
    };
    for (int i = 0; i < 10; ++i) {
      add(fmt::format("part/{}.png", i), png.data(), png.size());
      add(fmt::format("part/{}.cls", i), i % 2 ? "1\n" : "0", i % 2 ? 2 : 1);
    }
    archive_write_free(tar);
  }
  const std::string text = "source: {webdataset: {train: train.tar, test: [test.tar]}}\nclasses: [a, b]\n";
  const Task task = load_task(write_task(text));
  const auto data = open_dataset(task, Split::Test);
  ASSERT_EQ(data->size(), 10);
  EXPECT_EQ(data->label(3), 1);
  EXPECT_EQ(data->image(3).pixels[0], 9);
  EXPECT_EQ(open_dataset(task, Split::Train)->size(), 9);
  fs::resize_file(folder_ / "test.tar", 700);
  EXPECT_THAT(message_of([&] { open_dataset(task, Split::Test); }), HasSubstr("test.tar"));
}

TEST_F(Tasks, MistakesAreNamedWithFileAndLine) {
  EXPECT_THAT(error_of_task("classes: [a, b]\nsource: {idx: {folder: x, train: [a, b], test: [c, d]}}\ntemplates: [a photo]"),
              AllOf(HasSubstr("t.yaml:3"), HasSubstr("'a photo' needs {} once")));
  EXPECT_THAT(error_of_task("clases: [a, b]"), AllOf(HasSubstr("t.yaml:1"), HasSubstr("did you mean 'classes'")));
  EXPECT_THAT(error_of_task("classes: [a, a]\nsource: {idx: {folder: x, train: [a, b], test: [c, d]}}"),
              HasSubstr("'a' is there twice"));
  EXPECT_THAT(error_of_task("classes: [a]\nsource: {idx: {folder: x, train: [a, b], test: [c, d]}}"),
              HasSubstr("expected 2 or more"));
  EXPECT_THAT(error_of_task("classes: [a, b]\nsource: {idz: {folder: x}}"), HasSubstr("did you mean 'idx'"));
  EXPECT_THAT(error_of_task("source: [\n"), HasSubstr("t.yaml"));
  EXPECT_THAT(error_of_task("a: &x [1]\nb: *x"), HasSubstr("anchors"));
  EXPECT_THAT(error_of_task("source: {glyphs: {ranges: [\"XY\"]}}"), HasSubstr("no range of code points"));
  EXPECT_THAT(message_of([] { load_task("mnits"); }), HasSubstr("did you mean 'mnist'"));
  EXPECT_THAT(message_of([] { load_task("nowhere/x.yaml"); }), HasSubstr("no such task file"));
}

TEST(BuiltIn, EveryTaskFileIsGood) {
  const auto names = builtin_tasks();
  for (const char* wanted : {"fashion-mnist", "georgian", "glyphs", "hebrew", "mnist", "thai"}) {
    EXPECT_THAT(names, testing::Contains(wanted));
  }
  for (const std::string& name : names) EXPECT_GE(load_task(name).classes.size(), 10U) << name;
}

TEST(Glyphs, NoFamilyIsInTwoSplitsAndTheSameFontsGiveTheSameImages) {
  const Task task = load_task("georgian");
  if (const std::string lack = missing(task); !lack.empty()) GTEST_SKIP() << lack;
  EXPECT_EQ(task.classes.at(0), "georgian letter an");
  const auto val = open_dataset(task, Split::Val), test = open_dataset(task, Split::Test);
  set_thread_count(1);
  const auto again = open_dataset(task, Split::Val);
  set_thread_count(0);
  EXPECT_EQ(val->fingerprint(), again->fingerprint());
  EXPECT_NE(val->fingerprint(), test->fingerprint());
  const Image image = val->image(0);
  EXPECT_EQ(image.height, 28);
  EXPECT_GT(*std::max_element(image.pixels.begin(), image.pixels.end()), 128);
}

TEST(Glyphs, MissingFontsAreNamed) {
  ::setenv("TASKVEC_FONTS", "/nowhere", 1);
  const std::string lack = missing(load_task("thai"));
  ::unsetenv("TASKVEC_FONTS");
  EXPECT_THAT(lack, AllOf(HasSubstr("font files are missing below /nowhere"), HasSubstr("tools/setup")));
}

TEST(Images, BrokenBytesAreRefused) {
  auto png = encode_png({4, 4, 3, std::vector<uint8_t>(48, 7)});
  const Image image = decode_image(png, "x.png");
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels, std::vector<uint8_t>(48, 7));
  for (const size_t size : {size_t{0}, size_t{4}, size_t{20}, png.size() / 2, png.size() - 14}) {
    EXPECT_THROW(decode_image(std::span(png).first(size), "x.png"), Error) << size;
  }
  png[16] = png[17] = std::byte{0xFF};  // a width of four milliards
  EXPECT_THROW(decode_image(png, "x.png"), Error);
}

TEST(Loading, BatchesAreNormalisedPixels) {
  const Task task = load_task("georgian");
  if (const std::string lack = missing(task); !lack.empty()) GTEST_SKIP() << lack;
  Preprocess preprocess;
  preprocess.shortest_edge = preprocess.crop_height = preprocess.crop_width = 28;
  preprocess.mean = preprocess.std = {0.5, 0.5, 0.5};
  const auto dataset = open_dataset(task, Split::Val, 50);
  const Loader cached(dataset, preprocess), direct(dataset, preprocess, 0);
  const std::vector<int64_t> indices{3, 1, 3};
  const at::Tensor images = cached.images(indices);
  EXPECT_EQ(images.sizes(), (std::vector<int64_t>{3, 3, 28, 28}));
  EXPECT_TRUE(at::equal(images, direct.images(indices)));
  EXPECT_TRUE(at::equal(images[0], images[2]));
  EXPECT_EQ(cached.labels(indices)[1].item<int64_t>(), dataset->label(1));
  EXPECT_FLOAT_EQ(images[0].min().item<float>(), -1.0F);
}

TEST(Loading, AheadMakesEveryBatchOnceAndInOrder) {
  for (const bool in_background : {false, true}) {
    std::vector<int64_t> made;
    Ahead<int64_t> ahead(2, 6, in_background, [&](int64_t i) {
      made.push_back(i);
      if (i == 5) throw std::runtime_error("five");
      return 10 * i;
    });
    for (int64_t i = 2; i < 5; ++i) EXPECT_EQ(ahead.next(), 10 * i);
    EXPECT_THROW(ahead.next(), std::runtime_error);
    EXPECT_EQ(made, (std::vector<int64_t>{2, 3, 4, 5}));
  }
  std::atomic<bool> ended = false;
  {
    Ahead<int64_t> dropped(0, 2, true, [&](int64_t i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ended = true;
      return i;
    });
  }
  EXPECT_TRUE(ended);  // what make() refers to is never left to a thread that goes on
}

TEST(Orders, EpochsArePermutationsOfTheirOwn) {
  auto first = epoch_order(100, 0, 0), second = epoch_order(100, 0, 1);
  EXPECT_NE(first, second);
  EXPECT_EQ(first, epoch_order(100, 0, 0));
  std::sort(first.begin(), first.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(first[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace taskvec::data
