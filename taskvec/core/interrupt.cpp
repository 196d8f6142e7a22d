#include "taskvec/core/interrupt.h"

#include <array>
#include <atomic>
#include <csignal>

namespace taskvec {
namespace {

std::atomic<int> g_signal{0}, g_held{0};
static_assert(std::atomic<int>::is_always_lock_free, "a handler may touch it");

void remember(int signal) {
  g_signal = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  for (const int signal : std::array{SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    // What was ignored for us stays so: nohup, a background job of a shell.
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

int interrupt_signal() { return g_signal.load(std::memory_order_relaxed); }

HoldInterrupts::HoldInterrupts() { ++g_held; }
HoldInterrupts::~HoldInterrupts() { --g_held; }

void check_interrupt() {
  if (const int signal = interrupt_signal(); signal != 0 && g_held == 0) throw Interrupted(signal);
}

}  // namespace taskvec
