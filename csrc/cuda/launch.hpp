// How a device algorithm is written once, launched on a GPU, and run thread by thread on a CPU.
//
// A Kernel is a value that holds the arguments, with
//     static constexpr int kPhases;      // barriers separate the phases
//     struct Shared;                     // memory of one block
//     struct Local;                      // what a thread keeps from one phase to the next
//     template <int Phase> DINOCELL_HD void run(const Thread&, Shared&, Local&) const;
// Threads of a block talk only through Shared, across a phase's end, and blocks only through atomics. So the plain loop
// of `emulate` (blocks, then phases, then threads) computes what a GPU computes, and tests the index arithmetic, the
// bounds and the phases on any machine; it can not show races inside a phase, which compute-sanitizer does on a device.
// A Kernel with `bool again(const Shared&) const` runs its phases again while that holds, each block for itself.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#define DINOCELL_HD __host__ __device__ __forceinline__
#else
#define DINOCELL_HD inline
#endif

namespace dinocell::device {

struct Size3 {
    uint32_t x = 1, y = 1, z = 1;
};

struct Grid {
    Size3 blocks, threads;
};

// Where a thread is: its block in the grid and itself in the block.
struct Thread {
    Size3 block, thread;
};

DINOCELL_HD uint32_t blocks_for(uint64_t items, uint32_t per_block) {
    return static_cast<uint32_t>((items + per_block - 1) / per_block);
}

template <typename Kernel>
concept Repeats = requires(const Kernel& kernel, const typename Kernel::Shared& shared) { kernel.again(shared); };

// Atomics return what was there before.
DINOCELL_HD uint32_t atomic_max(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicMax(target, value);
#else
    const uint32_t before = *target;
    if (before < value) *target = value;
    return before;
#endif
}

DINOCELL_HD uint32_t atomic_min(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicMin(target, value);
#else
    const uint32_t before = *target;
    if (value < before) *target = value;
    return before;
#endif
}

DINOCELL_HD uint32_t atomic_add(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicAdd(target, value);
#else
    const uint32_t before = *target;
    *target = before + value;
    return before;
#endif
}

DINOCELL_HD uint64_t atomic_max(uint64_t* target, uint64_t value) {
#ifdef __CUDA_ARCH__
    return atomicMax(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
#else
    const uint64_t before = *target;
    if (before < value) *target = value;
    return before;
#endif
}

// Writes `value` where `expected` stands.
DINOCELL_HD uint64_t atomic_exchange_if(uint64_t* target, uint64_t expected, uint64_t value) {
#ifdef __CUDA_ARCH__
    return atomicCAS(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(expected),
                     static_cast<unsigned long long>(value));
#else
    const uint64_t before = *target;
    if (before == expected) *target = value;
    return before;
#endif
}

template <int Phase, typename Kernel>
DINOCELL_HD void run_phase(const Kernel& kernel, const Thread& thread, typename Kernel::Shared& shared,
                           typename Kernel::Local& local) {
    kernel.template run<Phase>(thread, shared, local);
}

template <int Phase, typename Kernel>
void emulate_phases(const Kernel& kernel, const Grid& grid, const Size3& block, typename Kernel::Shared& shared,
                    std::vector<typename Kernel::Local>& locals) {
    if constexpr (Phase < Kernel::kPhases) {
        size_t number = 0;
        Thread thread{block, {}};
        for (thread.thread.z = 0; thread.thread.z < grid.threads.z; ++thread.thread.z)
            for (thread.thread.y = 0; thread.thread.y < grid.threads.y; ++thread.thread.y)
                for (thread.thread.x = 0; thread.thread.x < grid.threads.x; ++thread.thread.x)
                    run_phase<Phase>(kernel, thread, shared, locals[number++]);
        emulate_phases<Phase + 1>(kernel, grid, block, shared, locals);
    }
}

// Runs every thread of every block in order on this CPU.
template <typename Kernel>
void emulate(const Kernel& kernel, const Grid& grid) {
    Size3 block;
    for (block.z = 0; block.z < grid.blocks.z; ++block.z)
        for (block.y = 0; block.y < grid.blocks.y; ++block.y)
            for (block.x = 0; block.x < grid.blocks.x; ++block.x) {
                typename Kernel::Shared shared{};
                std::vector<typename Kernel::Local> locals(
                    static_cast<size_t>(grid.threads.x) * grid.threads.y * grid.threads.z);
                emulate_phases<0>(kernel, grid, block, shared, locals);
                if constexpr (Repeats<Kernel>)
                    while (kernel.again(shared)) emulate_phases<0>(kernel, grid, block, shared, locals);
            }
}

// What an algorithm of several kernels is written for: `run(name, kernel)` and `run.fill(memory, byte, size)`.
struct Emulator {
    template <typename Kernel>
    void operator()(const char*, const Kernel& kernel) const {
        emulate(kernel, kernel.grid());
    }
    void fill(void* memory, int byte, size_t size) const { std::memset(memory, byte, size); }
};

#ifdef __CUDACC__

template <int Phase, typename Kernel>
__device__ __forceinline__ void device_phases(const Kernel& kernel, const Thread& thread,
                                              typename Kernel::Shared& shared, typename Kernel::Local& local) {
    if constexpr (Phase < Kernel::kPhases) {
        if constexpr (Phase > 0) __syncthreads();
        run_phase<Phase>(kernel, thread, shared, local);
        device_phases<Phase + 1>(kernel, thread, shared, local);
    }
}

template <typename Kernel>
__global__ void run_on_device(const __grid_constant__ Kernel kernel) {
    __shared__ typename Kernel::Shared shared;
    typename Kernel::Local local;
    const Thread thread{{blockIdx.x, blockIdx.y, blockIdx.z}, {threadIdx.x, threadIdx.y, threadIdx.z}};
    if constexpr (Repeats<Kernel>) {
        bool again = true;
        while (again) {
            device_phases<0>(kernel, thread, shared, local);
            __syncthreads();
            again = kernel.again(shared);
            __syncthreads();
        }
    } else {
        device_phases<0>(kernel, thread, shared, local);
    }
}

// Throws std::runtime_error that names the kernel, its grid and what to do.
inline void check(cudaError_t error, const char* kernel, const Grid& grid) {
    if (error == cudaSuccess) return;
    throw std::runtime_error(std::string(kernel) + " failed to start on " + std::to_string(grid.blocks.x) + " x " +
                             std::to_string(grid.blocks.y) + " x " + std::to_string(grid.blocks.z) +
                             " blocks: " + cudaGetErrorString(error) +
                             "; run 'dinocell doctor' to compare the driver with this build");
}

// Queues kernels on a stream and returns at once; an empty grid starts nothing.
struct Launcher {
    cudaStream_t stream;

    template <typename Kernel>
    void operator()(const char* name, const Kernel& kernel) const {
        const Grid grid = kernel.grid();
        if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
        const dim3 blocks(grid.blocks.x, grid.blocks.y, grid.blocks.z);
        const dim3 threads(grid.threads.x, grid.threads.y, grid.threads.z);
        run_on_device<Kernel><<<blocks, threads, 0, stream>>>(kernel);
        check(cudaGetLastError(), name, grid);
    }
    void fill(void* memory, int byte, size_t size) const {
        check(cudaMemsetAsync(memory, byte, size, stream), "cudaMemsetAsync", {});
    }
};

#endif

}  // namespace dinocell::device
