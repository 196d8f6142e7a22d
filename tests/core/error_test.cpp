#include "taskvec/core/error.h"

#include <gtest/gtest.h>

namespace taskvec {
namespace {

TEST(ErrorTest, NamesFromFilesCannotEndTheMessageOrSpeakToTheTerminal) {
  const Error error(ErrorCode::Format, std::string("a\0b\x1b[2J\x7F\r c\n\té", 15));
  EXPECT_STREQ(error.what(), "a?b?[2J?? c\n\té");
}

TEST(ErrorTest, AMessageHasAnEnd) {
  const std::string text = Error(ErrorCode::Format, std::string(1 << 20, 'x')).what();
  EXPECT_LT(text.size(), 20'000U);
  EXPECT_TRUE(text.ends_with("x ..."));
}

}  // namespace
}  // namespace taskvec
