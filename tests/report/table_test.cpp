#include "taskvec/report/table.h"

#include "taskvec/core/error.h"
#include "taskvec/report/text_width.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <sstream>

namespace taskvec::report {
namespace {

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) out.push_back(line);
  return out;
}

TEST(Table, NumbersAlignRight) {
  Table table({"task", "accuracy", "n"});
  table.row({"mnist", percent(0.8125), "10000"}).row({"glyphs", percent(0.7), "512"}).rule().row({"mean"});
  EXPECT_EQ(table.text(),
            "task    accuracy      n\n"
            "───────────────────────\n"
            "mnist     81.2 %  10000\n"
            "glyphs    70.0 %    512\n"
            "───────────────────────\n"
            "mean\n");
}

TEST(Table, LeadingColumnsStandInFrontOfEveryBlock) {
  Table table({"a", "b", "first metric", "second metric"}, {}, 2);
  table.row({"0.1", "0.25", "1", "2"});
  EXPECT_EQ(table.text(28),
            "a       b  first metric\n"
            "───────────────────────\n"
            "0.1  0.25             1\n"
            "\n"
            "a       b  second metric\n"
            "────────────────────────\n"
            "0.1  0.25              2\n");
}

TEST(Table, StrongRowsAreMarkedOrBold) {
  Table table({"a", "m"});
  table.row({"0", "0.5"}).strong_row({"1", "0.75"});
  EXPECT_EQ(table.text(), "a     m\n───────\n0   0.5\n1  0.75 *\n");
  EXPECT_EQ(table.text(80, /*ansi=*/true), "a     m\n───────\n0   0.5\n\033[1m1  0.75\033[0m\n");
}

TEST(Table, WordsGiveWayBeforeNumbers) {
  Table table({"class", "predicted as", "share"}, {Align::Left, Align::Left, Align::Right});
  table.row({"latin capital letter e", "greek capital letter epsilon", "99.9 %"});
  EXPECT_EQ(table.text(40),
            "class            predicted as      share\n"
            "────────────────────────────────────────\n"
            "latin capital…   greek capital…   99.9 %\n");
}

TEST(Table, NumbersAreNeverCutButSetInBlocks) {
  Table table({"cosine", "a, b", "a, c", "a, d"});
  table.row({"layer 0", "-0.123", "0.456", "0.789"});
  EXPECT_EQ(table.text(24),
            "cosine     a, b   a, c\n"
            "──────────────────────\n"
            "layer 0  -0.123  0.456\n"
            "\n"
            "cosine    a, d\n"
            "──────────────\n"
            "layer 0  0.789\n");
}

TEST(Table, EscapesAndLineBreaksDoNotReachTheTerminal) {
  Table table({"x"});
  table.row({"a\nb\033[31m\xFF"});
  EXPECT_EQ(lines(table.text())[2], "a b [31m\xEF\xBF\xBD");
}

TEST(Table, Errors) {
  try {
    Table({"a"}).row({"1", "2"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "row of 2 cells in a table of 1 columns");
  }
  try {
    Table({"a"}, {Align::Left, Align::Left});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "table with 1 columns and 2 alignments");
  }
}

RC_GTEST_PROP(TableProperty, NeverWiderThanAsked, (const std::vector<std::vector<std::string>>& rows, bool strong)) {
  const auto width = *rc::gen::inRange(16, 100);
  const auto columns = *rc::gen::inRange<size_t>(1, 20);
  Table table(std::vector<std::string>(columns, "a longer head"), std::vector<Align>(columns, Align::Left));
  for (auto row : rows) {
    row.resize(std::min(row.size(), columns));
    strong ? table.strong_row(row) : table.row(row);
  }
  for (const std::string& line : lines(table.text(width))) RC_ASSERT(text_width(line) <= width);
}

TEST(Numbers, Text) {
  EXPECT_EQ(percent(0.99951, 2), "99.95 %");
  EXPECT_EQ(percent(std::nan("")), "-");
  EXPECT_EQ(points(0.0423), "+4.2");
  EXPECT_EQ(points(-0.31), "-31.0");
  EXPECT_EQ(points(-0.0001), "0.0");
  EXPECT_EQ(points(std::nan("")), "-");
  EXPECT_EQ(coefficient(0.35), "0.35");
  EXPECT_EQ(coefficient(1), "1");
}

TEST(TextWidth, CutsBetweenCharacters) {
  EXPECT_EQ(text_width("añb€"), 4);
  EXPECT_EQ(shorten("añb€", 4), "añb€");
  EXPECT_EQ(shorten("añb€x", 4), "añb…");
  EXPECT_EQ(shorten("a  b", 3), "a…");
  EXPECT_EQ(shorten("abc", 0), "");
  EXPECT_EQ(prefix("añb", 2), "añ");
}

TEST(TextWidth, CleansWhatIsNotUtf8) {
  EXPECT_EQ(clean("plain ünï €"), "plain ünï €");
  for (const char* broken : {"\xC0", "\xE2\x82", "\xC1"})
    EXPECT_THAT(clean(broken), testing::StartsWith("\xEF\xBF\xBD")) << broken;
  EXPECT_EQ(clean("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(clean("\xC2\x9B"), " ");                                         // a control character
}

}  // namespace
}  // namespace taskvec::report
