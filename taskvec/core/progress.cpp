#include "taskvec/core/progress.h"

#include "taskvec/core/console.h"
#include "taskvec/core/interrupt.h"
#include "taskvec/core/printable.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <string_view>

namespace taskvec {
namespace {

using Clock = std::chrono::steady_clock;

bool wanted() {
  const char* value = std::getenv("TASKVEC_PROGRESS");
  return !is_quiet() && (value == nullptr || std::string_view(value) != "0");
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

struct Progress::State {
  std::string label, unit, note;
  int64_t total;
  std::atomic<int64_t> done{0};
  Clock::time_point start = Clock::now();
  std::atomic<double> next_print = 0.7;  // seconds since start
  std::mutex mutex;
  bool terminal = ::isatty(STDERR_FILENO) == 1;
  bool enabled = wanted();
  bool printed = false;

  std::string line(double seconds) const {
    const auto finished = static_cast<double>(done.load());
    const double rate = finished / std::max(seconds, 1e-9);
    const double share = total > 0 ? finished / static_cast<double>(total) : 0;
    std::string text = fmt::format("{}: {:3.0f} %", label, 100 * share);
    text += unit == "bytes" ? fmt::format(", {}/s", format_bytes(rate)) : fmt::format(", {}/{} {}", done.load(), total, unit);
    if (finished > 0 && total > done)
      text += fmt::format(", {} left", format_seconds(static_cast<double>(total) / rate - seconds));
    if (!note.empty()) text += ", " + note;
    return text;
  }
};

Progress::Progress(std::string label, int64_t total, std::string unit) : state_(std::make_unique<State>()) {
  state_->label = std::move(label);
  state_->unit = std::move(unit);
  state_->total = total;
}

Progress::~Progress() {
  if (state_->printed && state_->terminal) write_message("\r\033[K");  // the line has served its time
}

void Progress::add(int64_t done) {
  check_interrupt();
  State& state = *state_;
  state.done += done;
  if (!state.enabled) return;
  const double now = seconds();
  if (now < state.next_print.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock(state.mutex, std::try_to_lock);
  if (!lock.owns_lock() || now < state.next_print) return;
  state.next_print = now + (state.terminal ? 0.2 : 10.0);
  state.printed = true;
  write_message(fmt::format("{}{}{}", state.terminal ? "\r\033[K" : "", printable(state.line(now)), state.terminal ? "" : "\n"));
}

void Progress::note(std::string text) {
  const std::lock_guard lock(state_->mutex);
  state_->note = std::move(text);
}

double Progress::seconds() const { return seconds_since(state_->start); }

std::string format_bytes(double bytes) {
  constexpr std::array units{"B", "kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  for (; std::abs(bytes) >= 1000 && unit + 1 < units.size(); ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, units[unit]);
}

std::string format_count(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string format_seconds(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", 1000 * seconds);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace taskvec
