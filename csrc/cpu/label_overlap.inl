// Included inside the namespace of an instruction set.
#include "simd.inl"

// Adds the pixels of every stretch in which both images are constant to its pair.
template <typename Label, typename KeyOf>
void count_pairs(const Label* truth, const Label* predicted, size_t size, const KeyOf& key_of, PairTable& pairs) {
    if (size == 0) return;
    size_t begin = 0;
    const auto end_at = [&](size_t end) __attribute__((always_inline)) {
        pairs.add(key_of(truth[begin], predicted[begin]), end - begin);
        begin = end;
    };
    size_t x = 1;
    for (; x + 64 <= size; x += 64)
        for (uint64_t bits = edge_bits(truth + x) | edge_bits(predicted + x); bits != 0; bits &= bits - 1)
            end_at(x + static_cast<size_t>(std::countr_zero(bits)));
    for (; x < size; ++x)
        if (truth[x] != truth[x - 1] || predicted[x] != predicted[x - 1]) end_at(x);
    end_at(size);
}
