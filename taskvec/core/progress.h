#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace taskvec {

/// One line on stderr that shows how far a long job is; silent for the first 0.7 seconds. On a terminal the line is rewritten in
/// place; elsewhere a line is printed every ten seconds. TASKVEC_PROGRESS=0 turns it off.
/// Threads: add() may be called from any thread.
class Progress {
 public:
  /// @param unit  "bytes" prints sizes and throughput; anything else ("steps", "images") prints counts and a rate.
  Progress(std::string label, int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// @throws Interrupted when the process was asked to stop
  void add(int64_t done);
  /// Extra words at the end of the line, e.g. "loss 0.31".
  void note(std::string text);
  double seconds() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "1.23 GB", "512 B" (powers of 1000).
std::string format_bytes(double bytes);
/// "1 file", "3 files", "0 files".
std::string format_count(int64_t count, std::string_view noun);
/// "850 ms", "12.3 s", "4 min 05 s".
std::string format_seconds(double seconds);

}  // namespace taskvec
