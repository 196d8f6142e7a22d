#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace taskvec::report {

enum class Align { Left, Right };

/// A text table for people: columns as wide as their cells, two spaces between them, a rule under the head. Where that is wider
/// than asked, left-aligned columns (words) are shortened with an ellipsis; where that is not enough, the columns are set in
/// blocks below each other, each behind the leading columns. Numbers are never cut.
class Table {
 public:
  /// @param align  per column; default: the first column left, the others (numbers) right
  /// @throws Error{InvalidArgument} when `align` has another length than `head`
  /// @param leading  how many columns say what a row is
  explicit Table(std::vector<std::string> head, std::vector<Align> align = {}, size_t leading = 1);

  /// Missing cells are empty. @throws Error{InvalidArgument} when there are more cells than columns.
  Table& row(std::vector<std::string> cells);
  /// A row to be noticed: bold where escape sequences are allowed, marked `*` behind the row elsewhere.
  Table& strong_row(std::vector<std::string> cells);
  /// A horizontal rule.
  Table& rule();

  /// @param width  in columns of a terminal
  /// @param ansi   escape sequences allowed
  std::string text(int width = 80, bool ansi = false) const;
  /// To stdout: as wide as the terminal, with no limit elsewhere; bold only on a terminal.
  void print() const;

 private:
  enum class Kind { Plain, Strong, Rule };
  struct Row {
    Kind kind;
    std::vector<std::string> cells;
  };
  std::vector<int> natural_widths() const;
  std::string block(const std::vector<size_t>& columns, int width, bool ansi) const;

  std::vector<std::string> head_;
  std::vector<Align> align_;
  std::vector<Row> rows_;
  size_t leading_;
};

/// "81.3 %" for 0.813; "-" for NaN.
std::string percent(double fraction, int digits = 1);
/// "+4.2" or "-31.0": a difference of fractions in points; "-" for NaN.
std::string points(double difference, int digits = 1);
/// The shortest text of a coefficient that reads back the same to 6 digits: "0.35", "1".
std::string coefficient(double value);

}  // namespace taskvec::report
