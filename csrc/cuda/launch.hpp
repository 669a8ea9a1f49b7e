// How a device algorithm is written once, launched on a GPU, and run thread by thread on a CPU.
//
// A Kernel is a value that holds the arguments, with
//     static constexpr int kPhases;      // barriers separate the phases
//     static constexpr Size3 kBlock;     // threads of a block
//     struct Shared;                     // memory of one block
//     struct Local;                      // what a thread keeps from one phase to the next
//     Grid grid() const;                 // how many blocks
//     template <int Phase> DINOCELL_HD void run(const Thread&, Shared&, Local&) const;
// Threads of a block talk only through Shared, across a phase's end, and blocks only through the functions of
// words.hpp. So the loops of emulate.hpp compute what a GPU computes.
// A Kernel with `bool again(const Shared&) const` runs its phases again while that holds, each block for itself.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "words.hpp"

namespace dinocell::device {

struct Size3 {
    uint32_t x = 1, y = 1, z = 1;
};

// Blocks.
struct Grid {
    uint64_t x = 1, y = 1, z = 1;
};

// Where a thread is: its block in the grid and itself in the block.
struct Thread {
    Size3 block, thread;
};

DINOCELL_HD uint64_t blocks_for(uint64_t items, uint32_t per_block) { return (items + per_block - 1) / per_block; }

// Throws std::invalid_argument for more blocks than a GPU takes.
inline void require_grid(const char* name, const Grid& grid) {
    if (grid.x <= 2147483647 && grid.y <= 65535 && grid.z <= 65535) return;
    throw std::invalid_argument(std::string(name) + " asks for " + std::to_string(grid.x) + " x " +
                                std::to_string(grid.y) + " x " + std::to_string(grid.z) +
                                " blocks; a GPU takes 2147483647 x 65535 x 65535: process the image or the batch in "
                                "parts");
}

template <typename Kernel>
concept Repeats = requires(const Kernel& kernel, const typename Kernel::Shared& shared) { kernel.again(shared); };

template <int Phase, typename Kernel>
DINOCELL_HD void run_phase(const Kernel& kernel, const Thread& thread, typename Kernel::Shared& shared,
                           typename Kernel::Local& local) {
    kernel.template run<Phase>(thread, shared, local);
}

template <typename Kernel>
constexpr uint32_t block_size() {
    return Kernel::kBlock.x * Kernel::kBlock.y * Kernel::kBlock.z;
}

template <typename Kernel>
constexpr bool fits_a_gpu() {
    return block_size<Kernel>() <= 1024 && Kernel::kBlock.z <= 64 && sizeof(typename Kernel::Shared) <= 48 * 1024 &&
           sizeof(Kernel) <= 32764;
}

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
__global__ void __launch_bounds__(block_size<Kernel>()) run_on_device(const __grid_constant__ Kernel kernel) {
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
    cudaGetLastError();  // else the next kernel would be told of it once more
    throw std::runtime_error(std::string(kernel) + " failed to start on " + std::to_string(grid.x) + " x " +
                             std::to_string(grid.y) + " x " + std::to_string(grid.z) +
                             " blocks: " + cudaGetErrorString(error) +
                             "; run 'dinocell doctor' to compare the driver with this build, or CUDA_LAUNCH_BLOCKING=1 "
                             "to find an earlier kernel that failed");
}

// Queues kernels on a stream and returns at once; an empty grid starts nothing.
struct Launcher {
    cudaStream_t stream;

    template <typename Kernel>
    void operator()(const char* name, const Kernel& kernel) const {
        static_assert(fits_a_gpu<Kernel>());
        const Grid grid = kernel.grid();
        if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
        require_grid(name, grid);
        const dim3 blocks(static_cast<uint32_t>(grid.x), static_cast<uint32_t>(grid.y), static_cast<uint32_t>(grid.z));
        const dim3 threads(Kernel::kBlock.x, Kernel::kBlock.y, Kernel::kBlock.z);
        run_on_device<Kernel><<<blocks, threads, 0, stream>>>(kernel);
        check(cudaGetLastError(), name, grid);
    }
    void fill(void* memory, int byte, size_t size) const {
        if (size != 0) check(cudaMemsetAsync(memory, byte, size, stream), "cudaMemsetAsync", {});
    }
};

#endif

}  // namespace dinocell::device
