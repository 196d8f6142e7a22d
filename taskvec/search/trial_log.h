#pragma once

#include "taskvec/core/files/line_file.h"
#include "taskvec/search/search.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>

namespace taskvec::search {

/// trials.jsonl: one line that says what was measured, then one line per finished trial, flushed as it ends.
/// Coefficients are by name and metrics raw, so that a search with a finer grid, another goal or other constraints goes on with
/// the same file.
///
///     {"format":2,"measured":{"expression":"base + $a*(ft - base)", ...}}
///     {"coefficients":{"a":0.35},"metrics":{"glyphs":0.69,"mnist":0.502},"seconds":1.9}
class TrialLog {
 public:
  /// Reads what is there. Half a line at the end (from a kill) is cut off; NaN is written as null.
  /// @param measured  an object: everything that metrics depend on, coefficients aside
  /// @throws Error{InvalidArgument} naming the differences for a log of something else, Error{Format} naming file and line where
  /// a line is no trial (accuracies are from 0 to 1), Error{Io}.
  TrialLog(const std::filesystem::path& path, const nlohmann::json& measured, const std::vector<Axis>& axes);

  /// The metrics and seconds of a trial that was logged; nullptr when there is none.
  const Trial* find(const std::vector<double>& coefficients) const;
  /// @throws Error{Io} naming the file
  void append(const Trial& trial);

 private:
  void read(const std::string& text, const nlohmann::json& measured);
  void remember(const nlohmann::json& line);

  std::filesystem::path path_;
  std::vector<std::string> names_;
  std::map<std::vector<double>, Trial> trials_;
  std::optional<LineFile> file_;
};

}  // namespace taskvec::search
