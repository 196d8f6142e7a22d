#pragma once

#include "taskvec/core/files/line_file.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <vector>

namespace taskvec::report {

/// What a run was asked and what became of it: the members go into OUT/run.json, with the version and the time added.
/// Replaces the file atomically. @throws Error{Io} naming the path.
void write_run(const std::filesystem::path& folder, nlohmann::json record);

/// OUT/run.json, or a null value when there is none: an object whose `state`, if any, is running or finished, and whose `asked`,
/// if any, is an object. @throws Error{Format} naming the file when it is no such record.
nlohmann::json read_run(const std::filesystem::path& folder);

/// A file of one JSON value per line, appended as things happen: what a killed run leaves is every line but perhaps half of the
/// last, which the next append removes.
class JsonLines {
 public:
  /// @throws Error{Io} naming the path
  explicit JsonLines(const std::filesystem::path& path);
  /// Appends a line and flushes it. @throws Error{Io} naming the path, e.g. on a full disk
  void append(const nlohmann::json& value);

 private:
  LineFile file_;
};

/// The complete lines of such a file, objects; none when there is no file. @throws Error{Format} naming file and line.
std::vector<nlohmann::json> read_json_lines(const std::filesystem::path& path);

}  // namespace taskvec::report
