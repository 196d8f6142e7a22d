#include "taskvec/report/table.h"

#include "taskvec/core/error.h"
#include "taskvec/report/text_width.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
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

Table::Table(std::vector<std::string> head, std::vector<Align> align) : head_(std::move(head)), align_(std::move(align)) {
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

std::vector<int> Table::widths(int limit) const {
  std::vector<int> widths;
  for (const std::string& cell : head_) widths.push_back(text_width(cell));
  for (const Row& row : rows_) {
    for (size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], text_width(row.cells[i]));
  }
  const auto total = [&] { return std::accumulate(widths.begin(), widths.end(), kGap * (static_cast<int>(widths.size()) - 1)); };
  // Words can lose their ends, numbers should not: left-aligned columns give way first.
  for (const bool words_only : {true, false}) {
    while (total() > limit) {
      size_t widest = widths.size();
      for (size_t i = 0; i < widths.size(); ++i) {
        if (words_only && align_[i] == Align::Right) continue;
        if (widths[i] > (words_only ? 2 * kNarrowest : kNarrowest) && (widest == widths.size() || widths[i] > widths[widest]))
          widest = i;
      }
      if (widest == widths.size()) break;
      --widths[widest];
    }
  }
  return widths;
}

std::string Table::text(int width, bool ansi) const {
  const bool any_strong = std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.kind == Kind::Strong; });
  const auto columns = widths(any_strong ? width - 2 : width);
  const int total = std::accumulate(columns.begin(), columns.end(), kGap * (static_cast<int>(columns.size()) - 1));
  std::string line;
  for (int i = 0; i < total; ++i) line += "─";
  // A table of more columns than fit is cut at the right rather than wrapped.
  const auto fits = [&](const std::string& text) { return shorten(text, width) + "\n"; };

  std::string out = fits(joined(head_, columns, align_)) + fits(line);
  for (const Row& row : rows_) {
    const std::string cells = row.kind == Kind::Rule ? line : joined(row.cells, columns, align_);
    if (row.kind == Kind::Strong) {
      out += ansi ? "\033[1m" + shorten(cells, width) + "\033[0m\n" : fits(cells + " *");
    } else {
      out += fits(cells);
    }
  }
  return out;
}

void Table::print() const {
  const std::string out = text(80, ::isatty(STDOUT_FILENO) == 1);
  std::fwrite(out.data(), 1, out.size(), stdout);
}

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
