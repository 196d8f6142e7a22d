#include "taskvec/edit/executors/consumer_queue.h"

namespace taskvec::edit {

ConsumerQueue::ConsumerQueue(const TileConsumer& consume, size_t buffer_size, size_t limit)
    : consume_(consume), buffer_size_(buffer_size), limit_(limit) {}

std::vector<std::byte> ConsumerQueue::take_buffer() {
  std::unique_lock lock(mutex_);
  if (free_.empty() && made_ >= limit_) freed_.wait(lock, [&] { return failed_ || !free_.empty(); });
  if (free_.empty()) {
    ++made_;
    return std::vector<std::byte>(buffer_size_);
  }
  auto buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void ConsumerQueue::add(Part part) {
  std::unique_lock lock(mutex_);
  parts_.push_back(std::move(part));
  if (consuming_ || failed_) return;
  consuming_ = true;
  while (!parts_.empty()) {
    Part next = std::move(parts_.front());
    parts_.pop_front();
    lock.unlock();
    try {
      consume_(next.tensor, next.offset, std::span(next.buffer).first(next.size));
    } catch (...) {
      lock.lock();
      failed_ = true;  // nobody waits for a buffer of this pass any more
      freed_.notify_all();
      throw;
    }
    lock.lock();
    free_.push_back(std::move(next.buffer));
    freed_.notify_one();
  }
  consuming_ = false;
}

}  // namespace taskvec::edit
