// What threads of a grid may do to a word in which they meet, on a GPU and, among real threads too, on a CPU.
#pragma once

#include <atomic>
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define DINOCELL_HD __host__ __device__ __forceinline__
#else
#define DINOCELL_HD inline
#endif

namespace dinocell::device {

// Atomics return what was there before. Nothing relies on the order in which two words are seen to change.
DINOCELL_HD uint32_t atomic_max(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicMax(target, value);
#else
    const std::atomic_ref<uint32_t> word(*target);
    uint32_t before = word.load(std::memory_order_relaxed);
    while (before < value && !word.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
    return before;
#endif
}

DINOCELL_HD uint32_t atomic_min(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicMin(target, value);
#else
    const std::atomic_ref<uint32_t> word(*target);
    uint32_t before = word.load(std::memory_order_relaxed);
    while (value < before && !word.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
    return before;
#endif
}

DINOCELL_HD uint32_t atomic_add(uint32_t* target, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicAdd(target, value);
#else
    return std::atomic_ref<uint32_t>(*target).fetch_add(value, std::memory_order_relaxed);
#endif
}

DINOCELL_HD uint64_t atomic_max(uint64_t* target, uint64_t value) {
#ifdef __CUDA_ARCH__
    return atomicMax(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(value));
#else
    const std::atomic_ref<uint64_t> word(*target);
    uint64_t before = word.load(std::memory_order_relaxed);
    while (before < value && !word.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
    }
    return before;
#endif
}

// Writes `value` where `expected` stands.
DINOCELL_HD uint64_t atomic_exchange_if(uint64_t* target, uint64_t expected, uint64_t value) {
#ifdef __CUDA_ARCH__
    return atomicCAS(reinterpret_cast<unsigned long long*>(target), static_cast<unsigned long long>(expected),
                     static_cast<unsigned long long>(value));
#else
    std::atomic_ref<uint64_t>(*target).compare_exchange_strong(expected, value, std::memory_order_relaxed);
    return expected;
#endif
}

// A word that other threads may be writing, where each value it has had will do, the oldest too. A GPU reads and writes
// an aligned word whole, and a plain load may come from its L1 cache, which pointer chasing needs.
template <typename Word>
DINOCELL_HD Word load_racing(const Word* source) {
    static_assert(sizeof(Word) == 4);
#ifdef __CUDA_ARCH__
    return *source;
#else
    return std::atomic_ref<Word>(*const_cast<Word*>(source)).load(std::memory_order_relaxed);
#endif
}

// A word that other threads may be reading so, or writing with the same value.
template <typename Word>
DINOCELL_HD void store_racing(Word* target, Word value) {
    static_assert(sizeof(Word) == 4);
#ifdef __CUDA_ARCH__
    *target = value;
#else
    std::atomic_ref<Word>(*target).store(value, std::memory_order_relaxed);
#endif
}

}  // namespace dinocell::device
