// Included inside the namespace of an instruction set.
#include "simd.inl"

// Adds the pixels of every stretch of [begin, end) in which both images are constant to its pair.
template <typename Label, typename Table>
void count_pairs(const Label* truth, const Label* predicted, size_t begin, size_t end, Table& pairs) {
    if (begin == end) return;
    for_each_edge(
        begin, end,
        [&](size_t x)
            __attribute__((always_inline)) { return edge_bits_ahead(truth + x) | edge_bits_ahead(predicted + x); },
        [&](size_t x)
            __attribute__((always_inline)) { return truth[x] != truth[x - 1] || predicted[x] != predicted[x - 1]; },
        [&](size_t x) __attribute__((always_inline)) {
            pairs.add({truth[begin], predicted[begin]}, x - begin);
            begin = x;
        });
    pairs.add({truth[begin], predicted[begin]}, end - begin);
}
