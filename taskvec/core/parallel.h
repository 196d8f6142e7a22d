#pragma once

#include <cstdint>
#include <functional>

namespace taskvec {

/// Number of threads that parallel_for uses: TASKVEC_THREADS, else the cores this process may run on.
int thread_count();
/// @param count  at least 1; 0 restores the default.
void set_thread_count(int count);

/// Calls body(i) for every i in [0, n), each once, from up to thread_count() threads, in no particular order.
/// The first exception is rethrown here after the others have stopped; nested calls run in the calling thread.
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

}  // namespace taskvec
