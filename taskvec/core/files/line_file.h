#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace taskvec {

/// A log: lines that are appended as things happen. What a killed run leaves is every line but perhaps half of the last, which is
/// cut off, and nothing else ever is. Links, devices and pipes are refused.
class LineFile {
 public:
  /// @param half_of_ours  whether text without an end, and the whole lines before it, can be what this program left; only asked
  /// where
  ///        there is such text
  /// @throws Error{Io} naming the path; Error{Format} where half_of_ours() says no
  LineFile(std::filesystem::path path, const std::function<bool(std::string_view whole, std::string_view half)>& half_of_ours);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  /// The whole lines that were there at the start, each with its end.
  const std::string& text() const& { return text_; }
  /// Appends a line, which reaches the system before this returns. @throws Error{Io}, e.g. on a full disk
  void append(std::string_view line);

 private:
  std::filesystem::path path_;
  std::string text_;
  int fd_ = -1;
};

}  // namespace taskvec
