#include "taskvec/text/clip_tokenizer.h"

#include "taskvec/core/error.h"
#include "taskvec/core/files/atomic_file.h"
#include "taskvec/text/normalize.h"
#include "tests/message_of.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

namespace taskvec::text {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class Tokenizer : public testing::Test {
 protected:
  Tokenizer() {
    folder_ = fs::temp_directory_path() / fmt::format("taskvec-text-{}", ::getpid()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Tokenizer() override { fs::remove_all(folder_); }

  std::string error_of_open() {
    return message_of([&] { ClipTokenizer::open(folder_); });
  }
  fs::path folder_;
};

TEST_F(Tokenizer, TrainedVocabularyHasCLIPsOrder) {
  const int64_t size = train_clip_tokenizer({"low lower lowest", "low"}, 3, 32, folder_);
  EXPECT_EQ(size, 256 + 256 + 3 + 2);
  const ClipTokenizer tokenizer = ClipTokenizer::open(folder_);
  EXPECT_EQ(tokenizer.vocab_size(), size);
  EXPECT_EQ(tokenizer.bos_token_id(), size - 2);
  EXPECT_EQ(tokenizer.eos_token_id(), size - 1);
  // (l, o) is the most frequent pair; of the ties that follow the smallest text wins: (lo, w) over (lo, w</w>).
  EXPECT_EQ(read_file(folder_ / "merges.txt"), "#version: 0.2\nl o\nlo w\nlo w</w>\n");
  EXPECT_THAT(tokenizer.encode("Low", 10), ElementsAre(size - 2, 514, size - 1));
  EXPECT_THAT(tokenizer.encode("!", 10), ElementsAre(size - 2, 256, size - 1));
}

TEST_F(Tokenizer, VocabAndMergesGiveTheSameAsTokenizerJson) {
  train_clip_tokenizer({"latin small letter a with acute", "digit seven"}, 40, 32, folder_);
  const ClipTokenizer whole = ClipTokenizer::open(folder_);
  fs::remove(folder_ / "tokenizer.json");
  const ClipTokenizer parts = ClipTokenizer::open(folder_);
  for (const char* text : {"latin capital letter A", "\xC3\xA9t\xC3\xA9 <|endoftext|> 12's", "", "\xFF\xFE"}) {
    EXPECT_EQ(whole.encode(text, 32), parts.encode(text, 32)) << text;
  }
}

TEST_F(Tokenizer, TruncationKeepsTheEnd) {
  train_clip_tokenizer({"a"}, 0, 32, folder_);
  const ClipTokenizer tokenizer = ClipTokenizer::open(folder_);
  const auto ids = tokenizer.encode("abcdefgh", 4);
  ASSERT_EQ(ids.size(), 4U);
  EXPECT_EQ(ids.back(), tokenizer.eos_token_id());
  EXPECT_THROW(tokenizer.encode("a", 1), Error);
}

TEST(Words, SplitLikeCLIP) {
  const auto words = [](const char* text) {
    std::vector<std::string> result;
    const std::u32string normalized = normalize(decode_utf8(text));
    for (auto word : split_words(normalized)) result.push_back(encode_utf8(word));
    return result;
  };
  EXPECT_THAT(words("It's  12\tO'Re!?"), ElementsAre("it", "'s", "1", "2", "o", "'re", "!?"));
  EXPECT_THAT(words("x<|STARTOFTEXT|>!"), ElementsAre("x", "<|", "startoftext", "|>", "!"));
  EXPECT_THAT(words("\xC4\xB0 e\xCC\x81"),
              ElementsAre("i", "\xCC\x87", "\xC3\xA9"));  // a dotted capital I; NFC composes e + acute
  EXPECT_THAT(words("\xC2\xA0\xE2\x80\x83"), ElementsAre());
}

TEST(Words, MalformedUtf8IsReplaced) {
  EXPECT_EQ(decode_utf8("a\xFFz"), U"a\uFFFDz");
  EXPECT_EQ(decode_utf8("\xED\xA0\x80").find_first_not_of(U'\uFFFD'), std::u32string::npos);  // a surrogate
  EXPECT_EQ(decode_utf8("\xF0\x9F").front(), U'\uFFFD');
}

TEST_F(Tokenizer, ErrorsNameTheFile) {
  EXPECT_THAT(error_of_open(), HasSubstr("no tokenizer in"));
  write_file_atomically(folder_ / "vocab.json", R"({"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2})");
  write_file_atomically(folder_ / "merges.txt", "#version: 0.2\na b\n");
  EXPECT_THAT(error_of_open(), AllOf(HasSubstr("merges.txt"), HasSubstr("'b'")));
  write_file_atomically(folder_ / "merges.txt", "a\n");
  EXPECT_THAT(error_of_open(), HasSubstr("expected two tokens in the merge 'a'"));
  write_file_atomically(folder_ / "merges.txt", "");
  write_file_atomically(folder_ / "vocab.json", R"({"a": -1})");
  EXPECT_THAT(error_of_open(), AllOf(HasSubstr("vocab.json"), HasSubstr("'a'")));
  write_file_atomically(folder_ / "vocab.json", R"({"a": 0})");
  EXPECT_THAT(error_of_open(), HasSubstr("<|startoftext|>"));
  write_file_atomically(folder_ / "tokenizer.json", R"({"model": {"type": "WordPiece"}})");
  EXPECT_THAT(error_of_open(), AllOf(HasSubstr("tokenizer.json"), HasSubstr("expected a BPE model")));
  write_file_atomically(folder_ / "tokenizer.json", "[");
  EXPECT_THAT(error_of_open(), HasSubstr("not a JSON object"));
}

}  // namespace
}  // namespace taskvec::text
