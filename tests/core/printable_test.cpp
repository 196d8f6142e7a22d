#include "taskvec/core/printable.h"

#include "taskvec/core/error.h"

#include <gtest/gtest.h>

namespace taskvec {
namespace {

TEST(Printable, KeepsTextInAnyScript) {
  const std::string text = "tensor 'ש' \t 日本 é 😀\nline";
  EXPECT_EQ(printable(text), text);
  EXPECT_EQ(printable_json(text), text);
}

TEST(Printable, ReplacesWhatSpeaksToATerminalOrTurnsTheWriting) {
  EXPECT_EQ(printable("a\x1b]0;title\x07z"), "a?]0;title?z");
  EXPECT_EQ(printable("\xc2\x9b 31m"), "? 31m");  // U+009B, CSI in one character
  EXPECT_EQ(printable("a\r\x7f"), "a??");
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "evil\xe2\x81\xa9"),
            "?evil?");  // U+202E, U+2069
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a?b");
}

TEST(Printable, BytesThatAreNoUtf8DoNotPass) {
  EXPECT_EQ(printable("\xff\xc0\x80"), "???");
  EXPECT_EQ(printable("\xed\xa0\x80"), "???");       // a surrogate
  EXPECT_EQ(printable("\xe2\x80"), "??");            // cut off
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????");  // beyond U+10FFFF
}

TEST(Printable, JsonSaysTheSameInEscapes) {
  EXPECT_EQ(printable_json("\"\xe2\x80\xae\x7f\""), "\"\\u202e\\u007f\"");
  EXPECT_EQ(printable_json("\"\xff\""), "\"\\ufffd\"");
}

TEST(Printable, ANewlineInAMessageBeginsNoOther) {
  EXPECT_EQ(printable_message("a\nerror: b\n  c\x1b"), "a\n  error: b\n  c?");
  EXPECT_EQ(printable_message(""), "");
}

TEST(Printable, ErrorsAre) { EXPECT_STREQ(Error(ErrorCode::Io, "\x1b[2J\xc2\x9b").what(), "?[2J?"); }

}  // namespace
}  // namespace taskvec
