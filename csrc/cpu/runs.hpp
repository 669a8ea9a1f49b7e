// Runs: maximal stretches of equal values. Cell images hold one run per ten to thirty pixels, so work per run is cheap.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace dinocell {

constexpr size_t kEdgeBlock = 4096;  // edge flags looked at together; they stay in the first-level cache
static_assert(std::endian::native == std::endian::little, "edge flags are read eight at a time, lowest byte first");

// edge[i] = values[i] != values[i - 1] for i in [0, count); values[-1] must exist.
void find_edges(const uint8_t* values, size_t count, uint8_t* edge);
void find_edges(const uint16_t* values, size_t count, uint8_t* edge);
void find_edges(const int32_t* values, size_t count, uint8_t* edge);
void find_edges(const int64_t* values, size_t count, uint8_t* edge);
// As above, for a pair of images: an edge in either is an edge.
void find_edges(const uint16_t* a, const uint16_t* b, size_t count, uint8_t* edge);
void find_edges(const int32_t* a, const int32_t* b, size_t count, uint8_t* edge);
void find_edges(const int64_t* a, const int64_t* b, size_t count, uint8_t* edge);

// Calls at(position) for every edge; find(begin, count, edge) flags the edges of [begin, begin + count).
template <typename Find, typename At>
void for_each_edge(size_t begin, size_t size, const Find& find, const At& at) {
    uint8_t edge[kEdgeBlock];
    for (; begin < size; begin += kEdgeBlock) {
        const size_t count = std::min(kEdgeBlock, size - begin);
        find(begin, count, edge);
        const size_t padded = (count + 7) / 8 * 8;
        std::memset(edge + count, 0, padded - count);
        for (size_t i = 0; i < padded; i += 8) {
            uint64_t eight;
            std::memcpy(&eight, edge + i, 8);
            for (; eight != 0; eight &= eight - 1) at(begin + i + static_cast<size_t>(std::countr_zero(eight)) / 8);
        }
    }
}

// Calls run(begin, end) for every run of equal values, in order.
template <typename Value, typename Run>
void for_each_run(const Value* values, size_t size, const Run& run) {
    if (size == 0) return;
    size_t begin = 0;
    for_each_edge(
        1, size, [&](size_t first, size_t count, uint8_t* edge) { find_edges(values + first, count, edge); },
        [&](size_t end) {
            run(begin, end);
            begin = end;
        });
    run(begin, size);
}

// Calls run(begin, end) for every stretch in which both images are constant.
template <typename Value, typename Run>
void for_each_run(const Value* a, const Value* b, size_t size, const Run& run) {
    if (size == 0) return;
    size_t begin = 0;
    for_each_edge(
        1, size, [&](size_t first, size_t count, uint8_t* edge) { find_edges(a + first, b + first, count, edge); },
        [&](size_t end) {
            run(begin, end);
            begin = end;
        });
    run(begin, size);
}

}  // namespace dinocell
