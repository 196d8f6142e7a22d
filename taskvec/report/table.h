#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace taskvec::report {

enum class Align { Left, Right };

/// A text table for people: columns as wide as their cells, two spaces between them, a rule under the head, never wider than
/// asked. Where the cells are too wide, the widest left-aligned columns are shortened with an ellipsis first, then any.
class Table {
 public:
  /// @param align  per column; default: the first column left, the others (numbers) right
  /// @throws Error{InvalidArgument} when `align` has another length than `head`
  explicit Table(std::vector<std::string> head, std::vector<Align> align = {});

  /// Missing cells are empty. @throws Error{InvalidArgument} when there are more cells than columns.
  Table& row(std::vector<std::string> cells);
  /// A row to be noticed: bold where escape sequences are allowed, marked `*` behind the row elsewhere.
  Table& strong_row(std::vector<std::string> cells);
  /// A horizontal rule.
  Table& rule();

  /// @param width  in columns of a terminal
  /// @param ansi   escape sequences allowed
  std::string text(int width = 80, bool ansi = false) const;
  /// To stdout, bold only when that is a terminal.
  void print() const;

 private:
  enum class Kind { Plain, Strong, Rule };
  struct Row {
    Kind kind;
    std::vector<std::string> cells;
  };
  std::vector<int> widths(int limit) const;

  std::vector<std::string> head_;
  std::vector<Align> align_;
  std::vector<Row> rows_;
};

/// "81.3 %" for 0.813; "-" for NaN.
std::string percent(double fraction, int digits = 1);
/// "+4.2" or "-31.0": a difference of fractions in points; "-" for NaN.
std::string points(double difference, int digits = 1);
/// The shortest text of a coefficient that reads back the same to 6 digits: "0.35", "1".
std::string coefficient(double value);

}  // namespace taskvec::report
