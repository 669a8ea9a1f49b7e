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

// Calls at(position) for every edge of [1, size), that is where values[position] != values[position - 1].
template <typename T, typename At>
inline __attribute__((always_inline)) void for_each_edge(const T* values, size_t size, const At& at) {
    size_t begin = 1;
    for (; begin + 64 <= size; begin += 64)
        for (uint64_t bits = edge_bits(values + begin); bits != 0; bits &= bits - 1)
            at(begin + static_cast<size_t>(std::countr_zero(bits)));
    for (; begin < size; ++begin)
        if (values[begin] != values[begin - 1]) at(begin);
}

// Calls run(begin, end) for every run of equal values, in order. Cell images hold one run per ten to thirty pixels, so
// work per run is cheap.
template <typename T, typename Run>
inline __attribute__((always_inline)) void for_each_run(const T* values, size_t size, const Run& run) {
    if (size == 0) return;
    size_t begin = 0;
    for_each_edge(values, size, [&](size_t end) {
        run(begin, end);
        begin = end;
    });
    run(begin, size);
}
