#include "taskvec/core/parallel.h"

#include "taskvec/core/error.h"
#include "taskvec/core/interrupt.h"

#include <sched.h>

#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace taskvec {
namespace {

constexpr int kMaxThreads = 1024;
std::atomic<int> g_thread_count{0};
thread_local bool t_inside = false;  // nested calls run where they are

int default_thread_count() {
  if (const char* text = std::getenv("TASKVEC_THREADS"); text != nullptr && *text != '\0') {
    int count = 0;
    const char* end = text + std::strlen(text);
    const auto [parsed, error] = std::from_chars(text, end, count);
    if (error != std::errc{} || parsed != end || count < 1 || count > kMaxThreads)
      fail(ErrorCode::InvalidArgument, "TASKVEC_THREADS is '{}'; expected a number from 1 to {}", text, kMaxThreads);
    return count;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// One parallel_for: indices are handed out from a counter until they run out or a call throws.
struct Job {
  int64_t n = 0;
  const std::function<void(int64_t)>* body = nullptr;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;

  void work() {
    const bool was_inside = std::exchange(t_inside, true);
    for (int64_t i = next++; i < n; i = next++) {
      try {
        check_interrupt();
        (*body)(i);
      } catch (...) {
        next = n;
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    t_inside = was_inside;
  }
};

/// Workers that sleep between jobs. One job at a time; a second caller does its job alone.
class Pool {
 public:
  ~Pool() { stop(); }

  void run(Job& job, int threads) {
    const std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return job.work();
    if (static_cast<int>(workers_.size()) != threads - 1) {
      stop();
      quit_ = false;
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this, seen = generation_]() mutable { loop(seen); });
    }
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      running_ = workers_.size();
      ++generation_;
    }
    wake_.notify_all();
    job.work();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return running_ == 0; });
    job_ = nullptr;
  }

 private:
  void loop(uint64_t seen) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return quit_ || generation_ != seen; });
      if (quit_) return;
      seen = generation_;
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--running_ == 0) done_.notify_all();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      quit_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  Job* job_ = nullptr;
  size_t running_ = 0;
  uint64_t generation_ = 0;
  bool quit_ = false;
};

}  // namespace

int thread_count() {
  int count = g_thread_count.load();
  if (count == 0) g_thread_count = count = default_thread_count();
  return count;
}

void set_thread_count(int count) {
  if (count < 0 || count > kMaxThreads) fail(ErrorCode::InvalidArgument, "{} threads; expected 1 to {}", count, kMaxThreads);
  g_thread_count = count;
}

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
  if (n <= 0) return;
  Job job;
  job.n = n;
  job.body = &body;
  const int threads = thread_count();
  if (t_inside || threads == 1 || n == 1) {
    job.work();
  } else {
    static Pool pool;
    pool.run(job, threads);
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace taskvec
