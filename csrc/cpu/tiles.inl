// Included inside the namespace of an instruction set.
#include "simd.inl"

// to[0, kLanes<T>) = v past the caches, where `to` is a multiple of 16 bytes: lines that are overwritten whole need not
// be fetched, and what is not read soon displaces nothing.
template <typename T>
inline __attribute__((always_inline)) void stream(T* to, Vector<T> v) {
#if DINOCELL_X86
    __m128i* const line = reinterpret_cast<__m128i*>(to);
#if DINOCELL_AVX512
    const __m512i all = reinterpret_cast<__m512i>(v);
    _mm_stream_si128(line, _mm512_castsi512_si128(all));
    _mm_stream_si128(line + 1, _mm512_extracti32x4_epi32(all, 1));
    _mm_stream_si128(line + 2, _mm512_extracti32x4_epi32(all, 2));
    _mm_stream_si128(line + 3, _mm512_extracti32x4_epi32(all, 3));
#elif DINOCELL_AVX2
    const __m256i all = reinterpret_cast<__m256i>(v);
    _mm_stream_si128(line, _mm256_castsi256_si128(all));
    _mm_stream_si128(line + 1, _mm256_extracti128_si256(all, 1));
#else
    _mm_stream_si128(line, reinterpret_cast<__m128i>(v));
#endif
#else
    store(to, v);
#endif
}
template <bool streaming, typename T>
inline __attribute__((always_inline)) void put(T* to, Vector<T> v) {
    if constexpr (streaming)
        stream(to, v);
    else
        store(to, v);
}
inline void end_stream() {
#if DINOCELL_X86
    _mm_sfence();  // what was streamed becomes visible to other threads
#endif
}

inline __attribute__((always_inline)) Vector<float> floats_of(const float* pixels) { return load(pixels); }
#if DINOCELL_AVX512
inline __attribute__((always_inline)) Vector<float> floats_of(const uint8_t* pixels) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels))));
}
inline __attribute__((always_inline)) Vector<float> floats_of(const uint16_t* pixels) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(pixels))));
}
#elif DINOCELL_AVX2
inline __attribute__((always_inline)) Vector<float> floats_of(const uint8_t* pixels) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels))));
}
inline __attribute__((always_inline)) Vector<float> floats_of(const uint16_t* pixels) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels))));
}
#elif DINOCELL_X86
inline __attribute__((always_inline)) Vector<float> floats_of(const uint16_t* pixels) {
    const __m128i narrow = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels));
    return _mm_cvtepi32_ps(_mm_unpacklo_epi16(narrow, _mm_setzero_si128()));
}
inline __attribute__((always_inline)) Vector<float> floats_of(const uint8_t* pixels) {
    int32_t four;
    std::memcpy(&four, pixels, 4);
    const __m128i wider = _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), _mm_setzero_si128());
    return _mm_cvtepi32_ps(_mm_unpacklo_epi16(wider, _mm_setzero_si128()));
}
#else
template <typename Pixel>
inline __attribute__((always_inline)) Vector<float> floats_of(const Pixel* pixels) {
    Vector<float> v;
    for (size_t i = 0; i < kLanes<float>; ++i) v[i] = static_cast<float>(pixels[i]);
    return v;
}
#endif

struct VectorScaling {
    explicit VectorScaling(const Scaling& one)
        : scale(broadcast(one.scale)), offset(broadcast(one.offset)), low(broadcast(one.low)),
          high(broadcast(one.high)) {}
    Vector<float> scale, offset, low, high;
};

// Clip as two comparisons that are false for NaN, so NaN passes.
template <typename Pixel>
inline __attribute__((always_inline)) Vector<float> scaled(const Pixel* pixels, const VectorScaling& scaling) {
    const Vector<float> value = floats_of(pixels) * scaling.scale + scaling.offset;
    const Vector<float> raised = scaling.low > value ? scaling.low : value;
    return scaling.high < raised ? scaling.high : raised;
}

// The nearest bfloat16, ties to even, in the upper half of each lane; NaN stays NaN.
inline __attribute__((always_inline)) Vector<uint32_t> rounded(Vector<float> value) {
    const auto bits = reinterpret_cast<Vector<uint32_t>>(value);
    const Vector<uint32_t> even = bits + 0x7fffu + (bits >> 16 & 1u);
    return value == value ? even : bits | 0x400000u;
}

// The upper halves of the lanes of a, then of b.
inline __attribute__((always_inline)) Vector<uint16_t> upper_halves(Vector<uint32_t> a, Vector<uint32_t> b) {
#if DINOCELL_AVX512
    alignas(64) static constexpr auto kOdd = [] {
        std::array<uint16_t, 32> odd{};
        for (size_t i = 0; i < 32; ++i) odd[i] = static_cast<uint16_t>(2 * i + 1);
        return odd;
    }();
    return reinterpret_cast<Vector<uint16_t>>(
        _mm512_permutex2var_epi16(reinterpret_cast<__m512i>(a), load512(kOdd.data()), reinterpret_cast<__m512i>(b)));
#elif DINOCELL_AVX2
    const __m256i packed = _mm256_packs_epi32(_mm256_srai_epi32(reinterpret_cast<__m256i>(a), 16),
                                              _mm256_srai_epi32(reinterpret_cast<__m256i>(b), 16));
    return reinterpret_cast<Vector<uint16_t>>(_mm256_permute4x64_epi64(packed, 0xd8));
#elif DINOCELL_X86
    return reinterpret_cast<Vector<uint16_t>>(_mm_packs_epi32(_mm_srai_epi32(reinterpret_cast<__m128i>(a), 16),
                                                              _mm_srai_epi32(reinterpret_cast<__m128i>(b), 16)));
#else
    Vector<uint16_t> halves;
    for (size_t i = 0; i < kLanes<uint32_t>; ++i) {
        halves[i] = static_cast<uint16_t>(a[i] >> 16);
        halves[kLanes<uint32_t> + i] = static_cast<uint16_t>(b[i] >> 16);
    }
    return halves;
#endif
}

// The kLanes<Out> values of as many pixels.
template <typename Out, typename Pixel>
inline __attribute__((always_inline)) Vector<Out> network_input(const Pixel* pixels, const VectorScaling& scaling) {
    if constexpr (std::is_same_v<Out, float>)
        return scaled(pixels, scaling);
    else
        return upper_halves(rounded(scaled(pixels, scaling)), rounded(scaled(pixels + kLanes<float>, scaling)));
}

template <bool streaming, typename Pixel, typename Out>
inline __attribute__((always_inline)) void gather_row(const Pixel* row, size_t count, VectorScaling scaling, Out* out) {
    size_t x = 0;
    for (; x + kLanes<Out> <= count; x += kLanes<Out>) put<streaming>(out + x, network_input<Out>(row + x, scaling));
    if (x == count) return;
    Pixel rest[kLanes<Out>] = {};
    std::memcpy(rest, row + x, (count - x) * sizeof(Pixel));
    const Vector<Out> values = network_input<Out>(rest, scaling);
    std::memcpy(out + x, &values, (count - x) * sizeof(Out));
}

// A row of the tile from a row of the image, where part of it lies outside.
template <typename Pixel>
inline void mirror_row(const Pixel* row, const TileColumns& columns, size_t tile, Pixel* out) {
    const auto [first, left, right, width, from] = columns;
    DINOCELL_CHECK(left <= right && right <= tile);
    DINOCELL_CHECK(left == right || (first + static_cast<ptrdiff_t>(left) >= 0 &&
                                     first + static_cast<ptrdiff_t>(right) <= static_cast<ptrdiff_t>(width)));
    if (left < right)
        std::memcpy(out + left, row + (first + static_cast<ptrdiff_t>(left)), (right - left) * sizeof(Pixel));
    if (from == nullptr) {  // mirrored once
        const Pixel* const before = row - first;
        const Pixel* const after = row + (2 * static_cast<ptrdiff_t>(width - 1) - first);
        for (size_t x = 0; x < left; ++x) out[x] = *(before - x);
        for (size_t x = right; x < tile; ++x) out[x] = *(after - x);
    } else {
        for (size_t x = 0; x < left; ++x) out[x] = row[from[x]];
        for (size_t x = right; x < tile; ++x) out[x] = row[from[x]];
    }
}

// One tile of one channel; row_of(y) gives the rows of the image. `mirrored` has room for a row of the tile.
template <typename Pixel, typename Out, typename RowOf>
void gather_tile(const RowOf& row_of, const TileColumns& columns, size_t tile, const Scaling& scaling, bool streaming,
                 Pixel* mirrored, Out* out) {
    const VectorScaling vectors(scaling);
    const bool inside = columns.left == 0 && columns.right == tile;
    const ptrdiff_t begin = columns.first + static_cast<ptrdiff_t>(columns.left);
    const auto rows = [&](const auto& gather) __attribute__((always_inline)) {
        for (size_t y = 0; y < tile; ++y) {
            // A tile takes a short piece of each row of the image: too short for the processor to look ahead itself.
            constexpr size_t kAhead = 8;
            const char* const ahead = reinterpret_cast<const char*>(row_of(std::min(y + kAhead, tile - 1)) + begin);
            for (size_t i = 0; i < (columns.right - columns.left) * sizeof(Pixel); i += 64)
                __builtin_prefetch(ahead + i);
            const Pixel* row = row_of(y);
            if (inside)
                row += columns.first;
            else
                mirror_row(row, columns, tile, mirrored);
            gather(inside ? row : mirrored, out + y * tile);
        }
    };
    if (streaming && reinterpret_cast<uintptr_t>(out) % 16 == 0 && tile * sizeof(Out) % 16 == 0) {
        rows([&](const Pixel* row, Out* to)
                 __attribute__((always_inline)) { gather_row<true>(row, tile, vectors, to); });
        end_stream();
    } else {
        rows([&](const Pixel* row, Out* to)
                 __attribute__((always_inline)) { gather_row<false>(row, tile, vectors, to); });
    }
}

// out[y, x] = sum over the sources of pixels[y, x] * (weights[x] * row_weights[y]), in their order. Sources have rows
// of `tile` values, out has rows of `width`. num is the number of sources if it is known, else 0.
template <size_t num>
inline void blend_sources(const BlendSource* sources, size_t num_sources, size_t tile, size_t rows, size_t columns,
                          float* __restrict out, size_t width) {
    constexpr size_t kAhead = 4;
    const size_t count = num == 0 ? num_sources : num;
    for (size_t y = 0; y < rows; ++y) {
        const auto sum = [&](size_t x, const auto& part) __attribute__((always_inline)) {
            auto total = part(sources[0], x);
            for (size_t k = 1; k < count; ++k) total += part(sources[k], x);
            return total;
        };
        size_t x = 0;
        for (; x + kLanes<float> <= columns; x += kLanes<float>)
            store(out + y * width + x, sum(x, [&](const BlendSource& source, size_t at) __attribute__((always_inline)) {
                      const float* pixels = source.pixels + y * tile + at;
                      __builtin_prefetch(pixels + kAhead * tile);
                      return load(pixels) * (load(source.weights + at) * source.row_weights[y]);
                  }));
        for (; x < columns; ++x)
            out[y * width + x] = sum(x, [&](const BlendSource& source, size_t at) __attribute__((always_inline)) {
                return source.pixels[y * tile + at] * (source.weights[at] * source.row_weights[y]);
            });
    }
}

inline void blend_block(const BlendSource* sources, size_t num_sources, size_t tile, size_t rows, size_t columns,
                        float* out, size_t width) {
    switch (num_sources) {
        case 1:
            return blend_sources<1>(sources, 1, tile, rows, columns, out, width);
        case 2:
            return blend_sources<2>(sources, 2, tile, rows, columns, out, width);
        case 4:
            return blend_sources<4>(sources, 4, tile, rows, columns, out, width);
        default:
            return blend_sources<0>(sources, num_sources, tile, rows, columns, out, width);
    }
}

// Finished values go past the caches.
inline void stream_values(const float* values, size_t count, float* out) {
    size_t x = std::min(count, (64 - reinterpret_cast<uintptr_t>(out) % 64) % 64 / sizeof(float));
    std::memcpy(out, values, x * sizeof(float));
    for (; x + kLanes<float> <= count; x += kLanes<float>) stream(out + x, load(values + x));
    std::memcpy(out + x, values + x, (count - x) * sizeof(float));
    end_stream();
}
