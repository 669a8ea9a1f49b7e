// Rows of basins, see pit_passes.hpp. Included inside the namespace of an instruction set.
#include "simd.inl"

// Whether values hold one above `limit`.
inline bool any_above(const int32_t* values, size_t count, int32_t limit) {
    int32_t any = 0;
    for (size_t i = 0; i < count; ++i) any |= values[i] > limit;
    return any != 0;
}

// Whether two basins touch of which one is a pit's.
inline __attribute__((always_inline)) bool touch(int32_t a, int32_t b, int32_t last_marker) {
    return (a != b) & ((a > last_marker) | (b > last_marker)) & (a > 0) & (b > 0);
}

// Calls at(x) for every x of [0, count) where a[x] and b[x] touch.
template <typename At>
inline void for_each_contact(const int32_t* a, const int32_t* b, size_t count, int32_t last_marker, const At& at) {
    constexpr size_t kBeforeFirst = ~size_t{0};
    for_each_edge(
        kBeforeFirst, count,
        [&](size_t x) __attribute__((always_inline)) {
            return bits_where([&](size_t i) { return touch(a[x + i], b[x + i], last_marker); });
        },
        [&](size_t x) __attribute__((always_inline)) { return touch(a[x], b[x], last_marker); }, at);
}

// Passes between each of `count` pixels and the one `step` after it.
template <typename Value>
void add_passes(const int32_t* basins, const Value* map, size_t step, size_t count, int32_t last_marker,
                Passes<Value>& passes) {
    for_each_contact(basins, basins + step, count, last_marker, [&](size_t x) {
        passes.add(static_cast<uint32_t>(basins[x]), static_cast<uint32_t>(basins[x + step]),
                   std::min(map[x], map[x + step]));
    });
}
