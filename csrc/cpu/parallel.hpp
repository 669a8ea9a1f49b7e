// Threads for one call: started, joined, nothing kept, so a fork between calls is safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "checked.hpp"

namespace dinocell {

// Cores this process may run on.
size_t available_cores();

// `requested` 0 means: one thread below half a megapixel (starting a thread costs as much as the work), else all cores.
// More than one for each pixel are never of use.
inline size_t resolve_threads(size_t requested, size_t num_pixels) {
    if (requested != 0) return std::min(requested, std::max<size_t>(1, num_pixels));
    return num_pixels < size_t{512} * 1024 ? 1 : available_cores();
}

// Calls body(task, state) for every task in [0, num_tasks), in any order, with a state = make_state() for each thread;
// rethrows the first exception after all have ended.
template <typename MakeState, typename Body>
void parallel_for(size_t num_tasks, size_t num_threads, const MakeState& make_state, const Body& body) {
    num_threads = std::min(num_threads, num_tasks);
    if (num_threads <= 1) {
        auto state = make_state();
        for (size_t task = 0; task < num_tasks; ++task) body(task, state);
        return;
    }
    std::atomic<size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    auto work = [&] {
        try {
            auto state = make_state();
            for (size_t task = next++; task < num_tasks; task = next++) body(task, state);
        } catch (...) {
            next = num_tasks;
            const std::lock_guard<std::mutex> guard(failure_lock);
            if (!failure) failure = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> threads;
        threads.reserve(num_threads - 1);
        try {
            for (size_t i = 1; i < num_threads; ++i) threads.emplace_back(work);
        } catch (const std::system_error&) {
            // The system gives no more threads (a limit of the user or the container): those there are do all tasks.
        }
        work();
    }
    if (failure) std::rethrow_exception(failure);
}

// As above without a state.
template <typename Body>
void parallel_for(size_t num_tasks, size_t num_threads, const Body& body) {
    parallel_for(num_tasks, num_threads, [] { return 0; }, [&](size_t task, int) { body(task); });
}

// The rows of an image in bands: one for one thread, else a few for each, so that they end at about the same time.
class Bands {
    static constexpr size_t kLeastRows = cut_size(32, 2);

  public:
    Bands(size_t height, size_t num_threads)
        : height_(height),
          count_(num_threads <= 1 ? std::min<size_t>(1, height)
                                  : std::min(4 * num_threads, (height + kLeastRows - 1) / kLeastRows)) {}
    size_t count() const { return count_; }
    size_t begin(size_t band) const { return height_ * band / count_; }
    size_t end(size_t band) const { return height_ * (band + 1) / count_; }
    // The band that row y lies in.
    size_t of(size_t y) const { return (count_ * (y + 1) - 1) / height_; }

  private:
    size_t height_, count_;
};

}  // namespace dinocell
