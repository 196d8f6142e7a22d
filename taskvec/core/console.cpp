#include "taskvec/core/console.h"

#include "taskvec/core/error.h"
#include "taskvec/core/printable.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace taskvec {
namespace {

std::atomic<bool> quiet = false;

[[noreturn]] void fail_output() {
  const int reason = errno;
  // Nothing more is tried at exit.
  std::clearerr(stdout);
  fail(ErrorCode::Io, "cannot write the result to stdout: {}", std::strerror(reason));
}

}  // namespace

void open_console() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is given. stdout for reading alone: writing a result to it stays an error.
    [[maybe_unused]] const int opened = ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void set_quiet(bool value) { quiet = value; }
bool is_quiet() { return quiet; }

int output_width() {
  constexpr int kUnlimited = 1 << 20, kLeast = 40;
  if (::isatty(STDOUT_FILENO) != 1) return kUnlimited;
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? std::max<int>(size.ws_col, kLeast) : 80;
}

void write_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail_output();
}

void write_message(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

namespace detail {

void print_text(const std::string& text) { write_output(printable(text)); }
void note_text(const std::string& text) { write_message(printable_message(text) + "\n"); }
void warn_text(const std::string& text) { write_message("warning: " + printable_message(text) + "\n"); }

}  // namespace detail
}  // namespace taskvec
