#include "parallel.hpp"

#ifdef __linux__
#include <sched.h>
#endif

namespace dinocell {

size_t available_cores() {
#ifdef __linux__
    cpu_set_t cores;
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace dinocell
