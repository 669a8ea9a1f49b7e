// Rows of a mask as bits and as edges. Included inside the namespace of an instruction set, after simd.inl.

// The columns where the bits change, beginning with the first that is set: begin and end of every run in turn.
inline size_t edges_of(const uint64_t* bits, size_t width, uint32_t* edges) {
    uint32_t* edge = edges;
    uint64_t before = 0;
    for (size_t x = 0; x < width; x += 64) {
        const uint64_t word = bits[x / 64];
        for (uint64_t changed = word ^ (word << 1 | before); changed != 0; changed &= changed - 1)
            *edge++ = static_cast<uint32_t>(x + static_cast<size_t>(std::countr_zero(changed)));
        before = word >> 63;
    }
    if ((edge - edges) % 2 != 0) *edge++ = static_cast<uint32_t>(width);
    return static_cast<size_t>(edge - edges);
}

// Bits of mask != 0; those past the end are 0.
inline void nonzero_row(const uint8_t* mask, size_t width, uint64_t* bits) {
    static constexpr uint8_t kNothing[64] = {};
    size_t x = 0;
    for (; x + 64 <= width; x += 64) *bits++ = unequal_bits(mask + x, kNothing);
    if (x < width) {
        uint8_t rest[64] = {};
        std::memcpy(rest, mask + x, width - x);
        *bits = unequal_bits(rest, kNothing);
    }
}

#if DINOCELL_AVX512
template <int compare>
inline __attribute__((always_inline)) uint64_t compare_bits(const float* a, float b) {
    const __m512 other = _mm512_set1_ps(b);
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += 16)
        bits |= static_cast<uint64_t>(_mm512_cmp_ps_mask(_mm512_loadu_ps(a + i), other, compare)) << i;
    return bits;
}
template <int compare>
inline __attribute__((always_inline)) uint64_t compare_bits(const double* a, double b) {
    const __m512d other = _mm512_set1_pd(b);
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += 8)
        bits |= static_cast<uint64_t>(_mm512_cmp_pd_mask(_mm512_loadu_pd(a + i), other, compare)) << i;
    return bits;
}
template <typename Value>
inline uint64_t above_bits(const Value* values, Value threshold) {
    return compare_bits<_CMP_GT_OQ>(values, threshold);
}
template <typename Value>
inline uint64_t nan_bits(const Value* values) {
    return compare_bits<_CMP_UNORD_Q>(values, Value{0});
}
#else
template <typename Value>
inline uint64_t above_bits(const Value* values, Value threshold) {
    return bits_where([&](size_t i) { return values[i] > threshold; });
}
template <typename Value>
inline uint64_t nan_bits(const Value* values) {
    return bits_where([&](size_t i) { return values[i] != values[i]; });
}
#endif

// Bits of row > fill and of row > peak; returns whether the row holds NaN.
template <typename Value>
bool threshold_row(const Value* row, size_t width, Value fill, Value peak, uint64_t* mask, uint64_t* markers) {
    uint64_t nan = 0;
    size_t x = 0;
    for (; x + 64 <= width; x += 64) {
        *mask++ = above_bits(row + x, fill);
        *markers++ = above_bits(row + x, peak);
        nan |= nan_bits(row + x);
    }
    if (x < width) {
        Value rest[64];
        std::fill(rest, rest + 64, -std::numeric_limits<Value>::infinity());
        std::memcpy(rest, row + x, (width - x) * sizeof(Value));
        *mask = above_bits(rest, fill);
        *markers = above_bits(rest, peak);
        nan |= nan_bits(rest);
    }
    return nan != 0;
}
