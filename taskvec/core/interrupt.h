#pragma once

#include <exception>
#include <string>

namespace taskvec {

/// SIGINT (Ctrl-C), SIGTERM or SIGHUP arrived: work unwinds, so that what cannot be gone on from is cleared up. No Error, as
/// nothing is wrong; the command line ends with 128 + signal().
class Interrupted : public std::exception {
 public:
  /// @param where  what somebody can do now, e.g. "the same command goes on there"; may be empty
  explicit Interrupted(int signal, std::string where = {}) : signal_(signal), where_(std::move(where)) {}
  int signal() const noexcept { return signal_; }
  const std::string& where() const noexcept { return where_; }
  const char* what() const noexcept override { return "interrupted"; }

 private:
  int signal_;
  std::string where_;
};

/// From now on the signals wait for check_interrupt(). A second one ends the process as if nobody had asked.
void catch_interrupts();

/// The signal that arrived, 0 for none. Threads: any.
int interrupt_signal();

/// While one lives, check_interrupt() lets work go on: for what must come to its end once it has begun, and polls
/// interrupt_signal() where it may stop.
class HoldInterrupts {
 public:
  HoldInterrupts();
  ~HoldInterrupts();
  HoldInterrupts(const HoldInterrupts&) = delete;
  HoldInterrupts& operator=(const HoldInterrupts&) = delete;
};

/// Between pieces of work: parallel_for and every Progress call it. @throws Interrupted
void check_interrupt();

}  // namespace taskvec
