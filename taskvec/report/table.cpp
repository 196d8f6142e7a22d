#include "taskvec/report/table.h"

#include "taskvec/core/console.h"
#include "taskvec/core/error.h"
#include "taskvec/report/text_width.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace taskvec::report {
namespace {

constexpr int kGap = 2, kNarrowest = 4;

std::string padded(const std::string& cell, int width, Align align) {
  const std::string text = shorten(cell, width);
  const std::string blanks(static_cast<size_t>(std::max(0, width - text_width(text))), ' ');
  return align == Align::Left ? text + blanks : blanks + text;
}

std::string joined(const std::vector<std::string>& cells, const std::vector<int>& widths, const std::vector<Align>& align) {
  std::string line;
  for (size_t i = 0; i < widths.size(); ++i) {
    if (i > 0) line.append(kGap, ' ');
    line += padded(i < cells.size() ? cells[i] : "", widths[i], align[i]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

Table::Table(std::vector<std::string> head, std::vector<Align> align, size_t leading)
    : head_(std::move(head)), align_(std::move(align)), leading_(std::min(leading, head_.size())) {
  if (align_.empty()) {
    align_.assign(head_.size(), Align::Right);
    if (!align_.empty()) align_[0] = Align::Left;
  }
  if (align_.size() != head_.size()) {
    fail(ErrorCode::InvalidArgument, "table with {} columns and {} alignments", head_.size(), align_.size());
  }
  for (std::string& cell : head_) cell = clean(cell);
}

Table& Table::row(std::vector<std::string> cells) {
  if (cells.size() > head_.size())
    fail(ErrorCode::InvalidArgument, "row of {} cells in a table of {} columns", cells.size(), head_.size());
  for (std::string& cell : cells) cell = clean(cell);
  rows_.push_back({Kind::Plain, std::move(cells)});
  return *this;
}

Table& Table::strong_row(std::vector<std::string> cells) {
  row(std::move(cells));
  rows_.back().kind = Kind::Strong;
  return *this;
}

Table& Table::rule() {
  rows_.push_back({Kind::Rule, {}});
  return *this;
}

std::vector<int> Table::natural_widths() const {
  std::vector<int> widths;
  for (const std::string& cell : head_) widths.push_back(text_width(cell));
  for (const Row& row : rows_) {
    for (size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], text_width(row.cells[i]));
  }
  return widths;
}

std::string Table::block(const std::vector<size_t>& columns, int width, bool ansi) const {
  const std::vector<int> natural = natural_widths();
  std::vector<int> widths;
  std::vector<Align> align;
  for (const size_t column : columns) {
    widths.push_back(natural[column]);
    align.push_back(align_[column]);
  }
  const auto total = [&] { return std::accumulate(widths.begin(), widths.end(), kGap * (static_cast<int>(widths.size()) - 1)); };
  // Words can lose their ends, numbers must not.
  while (total() > width) {
    size_t widest = widths.size();
    for (size_t i = 0; i < widths.size(); ++i)
      if (align[i] == Align::Left && widths[i] > kNarrowest && (widest == widths.size() || widths[i] > widths[widest]))
        widest = i;
    if (widest == widths.size()) break;
    --widths[widest];
  }
  const auto of = [&](const std::vector<std::string>& cells) {
    std::vector<std::string> some;
    for (const size_t column : columns) some.push_back(column < cells.size() ? cells[column] : "");
    return joined(some, widths, align);
  };
  std::string line;
  for (int i = 0; i < total(); ++i) line += "─";

  std::string out = of(head_) + "\n" + line + "\n";
  for (const Row& row : rows_) {
    const std::string cells = row.kind == Kind::Rule ? line : of(row.cells);
    if (row.kind == Kind::Strong) {
      out += ansi ? "\033[1m" + cells + "\033[0m\n" : cells + " *\n";
    } else {
      out += cells + "\n";
    }
  }
  return out;
}

std::string Table::text(int width, bool ansi) const {
  if (head_.empty()) return "\n\n";
  const bool any_strong = std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.kind == Kind::Strong; });
  const int room = any_strong ? width - 2 : width;
  const std::vector<int> natural = natural_widths();
  // As narrow as a column can be.
  const auto least = [&](size_t column) {
    return align_[column] == Align::Left ? std::min(natural[column], 2 * kNarrowest) : natural[column];
  };
  std::string out;
  for (size_t next = leading_; next < head_.size() || next == leading_;) {
    std::vector<size_t> columns;
    int used = -kGap;
    for (size_t column = 0; column < leading_; ++column) {
      used += kGap + least(column);
      columns.push_back(column);
    }
    for (; next < head_.size() && (columns.size() == leading_ || used + kGap + least(next) <= room); ++next) {
      used += kGap + least(next);
      columns.push_back(next);
    }
    out += (out.empty() ? "" : "\n") + block(columns, room, ansi);
    if (head_.size() == leading_) break;
  }
  return out;
}

void Table::print() const { write_output(text(output_width(), ::isatty(STDOUT_FILENO) == 1)); }

std::string percent(double fraction, int digits) {
  return std::isfinite(fraction) ? fmt::format("{:.{}f} %", 100 * fraction, digits) : "-";
}

std::string points(double difference, int digits) {
  if (!std::isfinite(difference)) return "-";
  const std::string text = fmt::format("{:+.{}f}", 100 * difference, digits);
  const bool zero = text.find_first_of("123456789") == std::string::npos;
  return zero ? text.substr(1) : text;  // neither +0.0 nor -0.0
}

std::string coefficient(double value) { return fmt::format("{:.6g}", value); }

}  // namespace taskvec::report
