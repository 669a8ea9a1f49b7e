// Vectors as wide as the instruction set has them, and 64 comparisons as one word. Included inside the namespace of an
// instruction set (per_isa.hpp).

template <typename T>
constexpr size_t kLanes = DINOCELL_VECTOR_BYTES / sizeof(T);

template <typename T>
struct VectorOf {
    typedef T Type __attribute__((vector_size(DINOCELL_VECTOR_BYTES)));
};
template <typename T>
using Vector = typename VectorOf<T>::Type;

template <typename T>
inline __attribute__((always_inline)) Vector<T> load(const T* from) {
    Vector<T> v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}
template <typename T>
inline __attribute__((always_inline)) void store(T* to, Vector<T> v) {
    std::memcpy(to, &v, sizeof(v));
}
template <typename T>
inline __attribute__((always_inline)) Vector<T> broadcast(T value) {
    return Vector<T>{} + value;
}

// Fills [to, to + count) and may write up to kLanes<T> - 1 values more.
template <typename T>
inline void fill_over(T* to, size_t count, T value) {
    const Vector<T> v = broadcast(value);
    for (size_t i = 0; i < count; i += kLanes<T>) store(to + i, v);
}

// The highest bits of 64 bytes as one word.
inline uint64_t high_bits(const uint8_t* flags) {
#if DINOCELL_AVX2
    const auto half = [&](size_t i) {
        return static_cast<uint64_t>(static_cast<uint32_t>(
            _mm256_movemask_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(flags + i)))));
    };
    return half(0) | half(32) << 32;
#elif DINOCELL_X86
    const auto quarter = [&](size_t i) {
        return static_cast<uint64_t>(
            static_cast<uint32_t>(_mm_movemask_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(flags + i)))));
    };
    return quarter(0) | quarter(16) << 16 | quarter(32) << 32 | quarter(48) << 48;
#else
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; ++i) {
        uint64_t eight;
        std::memcpy(&eight, flags + 8 * i, 8);
        bits |= ((eight & 0x8080808080808080u) >> 7) * 0x0102040810204080u >> 56 << (8 * i);
    }
    return bits;
#endif
}

// Bit i of the result: compare(i) for i in [0, 64).
template <typename Compare>
inline __attribute__((always_inline)) uint64_t bits_where(const Compare& compare) {
    alignas(64) uint8_t flags[64];
    for (size_t i = 0; i < 64; ++i) flags[i] = compare(i) ? 0xff : 0;
    return high_bits(flags);
}

#if DINOCELL_AVX512
inline __attribute__((always_inline)) __m512i load512(const void* from) { return _mm512_loadu_si512(from); }

template <typename T>
inline __attribute__((always_inline)) uint64_t unequal_bits(const T* a, const T* b) {
    uint64_t bits = 0;
    for (size_t i = 0; i < 64; i += kLanes<T>) {
        const __m512i x = load512(a + i), y = load512(b + i);
        uint64_t part;
        if constexpr (sizeof(T) == 1)
            part = _mm512_cmpneq_epi8_mask(x, y);
        else if constexpr (sizeof(T) == 2)
            part = _mm512_cmpneq_epi16_mask(x, y);
        else if constexpr (sizeof(T) == 4)
            part = _mm512_cmpneq_epi32_mask(x, y);
        else
            part = _mm512_cmpneq_epi64_mask(x, y);
        bits |= part << i;
    }
    return bits;
}
#else
// Bit i: a[i] != b[i].
template <typename T>
inline uint64_t unequal_bits(const T* a, const T* b) {
    return bits_where([&](size_t i) { return a[i] != b[i]; });
}
#endif

// Bit i: values[i] != values[i - 1].
template <typename T>
inline uint64_t edge_bits(const T* values) {
    return unequal_bits(values, values - 1);
}

// The same, asking for the values that come a block later: the processor looks ahead too little while it is busy with
// the edges of this one.
template <typename T>
inline __attribute__((always_inline)) uint64_t edge_bits_ahead(const T* values) {
    constexpr size_t kAhead = 1024;
    const char* const ahead = reinterpret_cast<const char*>(values) + kAhead * sizeof(T);
    for (size_t i = 0; i < 64 * sizeof(T); i += 64) __builtin_prefetch(ahead + i);
    return edge_bits(values);
}

// Writes base + i for every bit i that is set, the lowest first, and returns the end; may write up to 15 values more.
inline __attribute__((always_inline)) uint32_t* write_positions(uint64_t bits, uint32_t base, uint32_t* to) {
#if DINOCELL_AVX512
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (size_t i = 0; i < 64; i += 16) {
        const auto part = static_cast<__mmask16>(bits >> i);
        const __m512i here = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(base + i)));
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(part, here));
        to += std::popcount(static_cast<uint32_t>(part));
    }
    return to;
#else
    uint32_t* const end = to + std::popcount(bits);
    for (; to < end; to += 8)
        for (size_t i = 0; i < 8; ++i) {
            to[i] = base + static_cast<uint32_t>(std::countr_zero(bits));
            bits &= bits - 1;
        }
    return end;
#endif
}

// Calls at(position) for every edge of [begin + 1, end), in order. edge_bits(x): bit i tells whether x + i is an edge.
// The edges of a block are collected before any is visited: how many a word holds cannot be foreseen, and a loop over
// the bits of each would lose its time in mispredicted branches.
template <typename EdgeBits, typename IsEdge, typename At>
inline __attribute__((always_inline)) void for_each_edge(size_t begin, size_t end, const EdgeBits& edge_bits,
                                                         const IsEdge& is_edge, const At& at) {
    constexpr size_t kBlock = cut_size(2048, 64);
    uint32_t positions[kBlock + 16];
    for (size_t block = begin + 1; block < end; block += kBlock) {
        const size_t block_end = end - block < kBlock ? end : block + kBlock;
        uint32_t* last = positions;
        size_t x = block;
        for (; x + 64 <= block_end; x += 64)
            last = write_positions(edge_bits(x), static_cast<uint32_t>(x - block), last);
        for (; x < block_end; ++x) {
            *last = static_cast<uint32_t>(x - block);
            last += is_edge(x) ? 1 : 0;
        }
        DINOCELL_CHECK(last <= positions + kBlock);
        for (const uint32_t* position = positions; position < last; ++position) at(block + *position);
    }
}

// Calls run(from, to) for every run of equal values in [begin, end), in order. Cell images hold one run per ten to
// thirty pixels, so work per run is cheap.
template <typename T, typename Run>
inline __attribute__((always_inline)) void for_each_run(const T* values, size_t begin, size_t end, const Run& run) {
    if (begin == end) return;
    for_each_edge(
        begin, end, [&](size_t x) __attribute__((always_inline)) { return edge_bits_ahead(values + x); },
        [&](size_t x) __attribute__((always_inline)) { return values[x] != values[x - 1]; },
        [&](size_t x) __attribute__((always_inline)) {
            run(begin, x);
            begin = x;
        });
    run(begin, end);
}
