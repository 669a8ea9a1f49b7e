// Runs a kernel thread by thread on this CPU: blocks, then phases, then threads, in any order.
//
// Tests index arithmetic, bounds and phases on any machine. That no two threads meet in a word but through words.hpp is
// for tests/device_emulation_races.cpp, which runs all kernels on real threads under ThreadSanitizer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "launch.hpp"

namespace dinocell::device {

// 0 to count - 1: as they come, backwards, or shuffled.
inline void set_order(std::vector<uint64_t>& numbers, uint64_t count, uint32_t order, std::mt19937& random) {
    numbers.resize(count);
    std::iota(numbers.begin(), numbers.end(), uint64_t{0});
    if (order == 1) std::reverse(numbers.begin(), numbers.end());
    if (order > 1) std::shuffle(numbers.begin(), numbers.end(), random);
}

template <int Phase, typename Kernel>
void emulate_phases(const Kernel& kernel, const Size3& block, typename Kernel::Shared& shared,
                    std::vector<typename Kernel::Local>& locals, std::vector<uint64_t>& numbers, uint32_t order,
                    std::mt19937& random) {
    if constexpr (Phase < Kernel::kPhases) {
        constexpr Size3 size = Kernel::kBlock;
        set_order(numbers, block_size<Kernel>(), order, random);
        for (const uint64_t number : numbers) {
            const auto n = static_cast<uint32_t>(number);
            const Thread thread{block, {n % size.x, n / size.x % size.y, n / size.x / size.y}};
            run_phase<Phase>(kernel, thread, shared, locals[number]);
        }
        emulate_phases<Phase + 1>(kernel, block, shared, locals, numbers, order, random);
    }
}

// Runs every thread of every block on this CPU, in an order that must not matter: 0 as they are numbered, 1 backwards,
// any other shuffled. Memory of blocks and threads starts out as nonsense, as on a GPU.
template <typename Kernel>
void emulate(const char* name, const Kernel& kernel, uint32_t order = 0) {
    static_assert(fits_a_gpu<Kernel>());
    const Grid grid = kernel.grid();
    require_grid(name, grid);
    std::mt19937 random(order);
    std::vector<uint64_t> blocks, numbers;
    set_order(blocks, grid.x * grid.y * grid.z, order, random);
    typename Kernel::Shared shared;
    std::vector<typename Kernel::Local> locals(block_size<Kernel>());
    for (const uint64_t number : blocks) {
        const Size3 block{static_cast<uint32_t>(number % grid.x), static_cast<uint32_t>(number / grid.x % grid.y),
                          static_cast<uint32_t>(number / grid.x / grid.y)};
        std::memset(static_cast<void*>(&shared), 0xa5, sizeof shared);
        std::memset(static_cast<void*>(locals.data()), 0xa5, locals.size() * sizeof locals[0]);
        emulate_phases<0>(kernel, block, shared, locals, numbers, order, random);
        if constexpr (Repeats<Kernel>)
            while (kernel.again(shared)) emulate_phases<0>(kernel, block, shared, locals, numbers, order, random);
    }
}

// What an algorithm of several kernels is written for: `run(name, kernel)` and `run.fill(memory, byte, size)`.
struct Emulator {
    uint32_t order = 0;

    template <typename Kernel>
    void operator()(const char* name, const Kernel& kernel) const {
        emulate(name, kernel, order);
    }
    void fill(void* memory, int byte, size_t size) const {
        if (size != 0) std::memset(memory, byte, size);
    }
};

}  // namespace dinocell::device
