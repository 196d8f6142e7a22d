#pragma once

#include "taskvec/edit/executors/sweep.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

namespace taskvec::edit {

/// A computed range of an output tensor on its way to the consumer.
struct Part {
  size_t tensor;
  uint64_t offset;
  std::vector<std::byte> buffer;
  size_t size;  ///< bytes of the buffer that are used
};

/// Calls a consumer from many threads, one call at a time, without a thread that waits for its turn: whoever finds nobody there
/// consumes its own part and those that others leave in the meantime. Two threads in write() of one file would only spin.
/// Threads: all methods, any.
class ConsumerQueue {
 public:
  /// @param limit  buffers at once; more than there are threads
  ConsumerQueue(const TileConsumer& consume, size_t buffer_size, size_t limit);

  /// Waits where as many as the limit are in use.
  std::vector<std::byte> take_buffer();
  /// Gives the part away, and takes part in consuming. @throws what the consumer throws
  void add(Part part);

 private:
  const TileConsumer& consume_;
  const size_t buffer_size_, limit_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::deque<Part> parts_;
  std::vector<std::vector<std::byte>> free_;
  size_t made_ = 0;
  bool consuming_ = false, failed_ = false;
};

}  // namespace taskvec::edit
