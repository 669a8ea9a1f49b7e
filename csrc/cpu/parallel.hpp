// Threads for one call: started, joined, nothing kept, so a fork between calls is safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace dinocell {

// Cores this process may run on.
size_t available_cores();

// `requested` 0 means: one thread below half a megapixel (starting a thread costs as much as the work), else all cores.
inline size_t resolve_threads(size_t requested, size_t num_pixels) {
    if (requested != 0) return requested;
    return num_pixels < size_t{512} * 1024 ? 1 : available_cores();
}

// Calls body(task) for every task in [0, num_tasks), in any order; rethrows the first exception after all have ended.
template <typename Body>
void parallel_for(size_t num_tasks, size_t num_threads, const Body& body) {
    num_threads = std::min(num_threads, num_tasks);
    if (num_threads <= 1) {
        for (size_t task = 0; task < num_tasks; ++task) body(task);
        return;
    }
    std::atomic<size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    auto work = [&] {
        try {
            for (size_t task = next++; task < num_tasks; task = next++) body(task);
        } catch (...) {
            next = num_tasks;
            const std::lock_guard<std::mutex> guard(failure_lock);
            if (!failure) failure = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> threads;
        threads.reserve(num_threads - 1);
        for (size_t i = 1; i < num_threads; ++i) threads.emplace_back(work);
        work();
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace dinocell
