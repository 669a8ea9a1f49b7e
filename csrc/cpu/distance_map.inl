// Bands of rows of a distance map, see distance_map.cpp. Included inside the namespace of an instruction set.
#include "simd.inl"

// best[x] = min(best[x], min over dx of square[x + dx] + dx^2). No label is compared: best starts at or below the
// squared distance to the ends of the pixel's own run, so a parabola from beyond an end never wins. Exact wherever the
// result is at most kReach^2. square is padded with kFar by kReach + kPadding on both sides.
inline void search_row(const uint16_t* square, uint16_t* best, size_t width) {
    using V = Vector<uint16_t>;
    constexpr size_t kStep = kLanes<uint16_t>;
    const auto any_above = [](V a, V b, uint16_t step) __attribute__((always_inline)) {
#if DINOCELL_AVX512
        const __m512i limit = _mm512_set1_epi16(static_cast<short>(step));
        return (_mm512_cmpgt_epu16_mask((__m512i)a, limit) | _mm512_cmpgt_epu16_mask((__m512i)b, limit)) != 0;
#else
        const V above = (a > step) | (b > step);
        uint64_t words[sizeof(V) / 8], any = 0;
        std::memcpy(words, &above, sizeof(V));
        for (const uint64_t word : words) any |= word;
        return any != 0;
#endif
    };
    for (size_t x = 0; x < width; x += 2 * kStep) {
        V a = load(best + x), b = load(best + x + kStep);
        for (size_t dx = 1; dx <= kReach; ++dx) {
            const auto step = static_cast<uint16_t>(dx * dx);
            if (!any_above(a, b, step)) break;
            const auto reach = [&](V here, size_t at) __attribute__((always_inline)) {
                const V left = load(square + at - dx), right = load(square + at + dx);
                V nearer = left < right ? left : right;
                const V limit = broadcast(static_cast<uint16_t>(kFar - step));  // so that the sum does not wrap
                nearer = nearer < limit ? nearer : limit;
                nearer += step;
                return here < nearer ? here : nearer;
            };
            a = reach(a, x);
            b = reach(b, x + kStep);
        }
        store(best + x, a);
        store(best + x + kStep, b);
    }
}

inline uint16_t largest_of(const uint16_t* values, size_t count) {
    using V = Vector<uint16_t>;
    constexpr size_t kStep = kLanes<uint16_t>;
    V most{};
    for (size_t i = 0; i < count; i += kStep) {
        V v = load(values + i);
        if (count - i < kStep) v &= load(kTail + kMaxLanes - (count - i));
        most = most > v ? most : v;
    }
    uint16_t lanes[kStep];
    store(lanes, most);
#if DINOCELL_X86
    __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes));
    const auto greater = [](__m128i x, __m128i y) { return _mm_add_epi16(_mm_subs_epu16(x, y), y); };
    for (size_t i = 8; i < kStep; i += 8)
        low = greater(low, _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes + i)));
    low = greater(low, _mm_srli_si128(low, 8));
    low = greater(low, _mm_srli_si128(low, 4));
    low = greater(low, _mm_srli_si128(low, 2));
    return static_cast<uint16_t>(_mm_extract_epi16(low, 0));
#else
    return *std::max_element(lanes, lanes + kStep);
#endif
}

// One step of a vertical sweep: length of the run of equal labels that ends here, 255 for that and more.
template <typename Label>
void sweep_row(const Label* row, const Label* before, const uint8_t* run_before, uint8_t* run, size_t width) {
    size_t x = 0;
#if DINOCELL_AVX512
    const __m512i one = _mm512_set1_epi8(1);
    static constexpr Label kNothing[64] = {};
    for (; x + 64 <= width; x += 64) {
        const uint64_t changed = unequal_bits(row + x, before + x), cell = unequal_bits(row + x, kNothing);
        const __m512i longer = _mm512_adds_epu8(load512(run_before + x), one);
        const __m512i ended = _mm512_mask_mov_epi8(longer, changed, one);
        _mm512_storeu_si512(run + x, _mm512_maskz_mov_epi8(cell, ended));
    }
#endif
    for (; x < width; ++x) {
        const auto longer = static_cast<uint8_t>(run_before[x] + (run_before[x] != 255));
        const uint8_t same = row[x] == before[x] ? longer : uint8_t{1};
        run[x] = row[x] == 0 ? uint8_t{0} : same;
    }
}

// Length of the runs of equal labels that end at `row`, looked up by stepping over `rows` rows away from it; what lies
// beyond them is unbounded unless `edge`. 0 for background.
template <typename Label>
void look_ahead(const Label* row, ptrdiff_t step, size_t rows, bool edge, uint8_t* run, size_t width) {
    for (size_t x = 0; x < width; x += 64) {
        const size_t count = std::min<size_t>(64, width - x);
        uint8_t same[64], length[64];
        for (size_t i = 0; i < count; ++i) {
            same[i] = row[x + i] != 0;
            length[i] = same[i];
        }
        uint8_t any = 1;
        const size_t reach = std::min<size_t>(rows, 254);
        for (size_t k = 1; k <= reach && any; ++k) {
            const Label* other = row + static_cast<ptrdiff_t>(k) * step + x;
            any = 0;
            for (size_t i = 0; i < count; ++i) {
                same[i] &= static_cast<uint8_t>(other[i] == row[x + i]);
                length[i] = static_cast<uint8_t>(length[i] + same[i]);
                any |= same[i];
            }
        }
        // 255 stands for all that reach so far; a shorter run is unbounded too if the image ended.
        const bool unbounded = reach == 254 || !edge;
        for (size_t i = 0; i < count; ++i) run[x + i] = same[i] && unbounded ? uint8_t{255} : length[i];
    }
}

// Squared distances of the rows [begin, end), as 16-bit integers in the second half of each row of `out`, and the
// largest of each label. Returns what made it stop, if anything did.
template <typename Label>
BandResult distance_band(const BandJob<Label>& job, size_t begin, size_t end, BandScratch& scratch) {
    const size_t width = job.width;
    const auto row = [&](size_t y) { return job.labels + y * width; };
    const auto down = [&](size_t y) { return scratch.down.data() + (y - begin) * scratch.stride; };
    look_ahead(row(begin), -static_cast<ptrdiff_t>(width), begin, job.border, down(begin), width);
    for (size_t y = begin + 1; y < end; ++y) sweep_row(row(y), row(y - 1), down(y - 1), down(y), width);

    uint8_t* up = scratch.up.data();
    uint8_t* below = scratch.below.data();
    uint16_t* square = scratch.square.data() + kReach;
    uint16_t* best = scratch.best.data();
    for (size_t y = end; y-- > begin;) {
        const Label* labels = row(y);
        if (y + 1 == end)
            look_ahead(labels, static_cast<ptrdiff_t>(width), job.height - 1 - y, job.border, up, width);
        else
            sweep_row(labels, row(y + 1), below, up, width);
        std::swap(up, below);
        for (size_t x = 0; x < width; ++x) {
            const uint16_t nearer = std::min(down(y)[x], below[x]);
            square[x] = static_cast<uint16_t>(nearer * nearer);
        }

        // best = min(distance to either end of the run)^2; what is written past an end, the next run overwrites.
        Bound* bound = scratch.bounds.data();
        for_each_run(labels, 0, width, [&](size_t from, size_t to) __attribute__((always_inline)) {
            if (labels[from] == 0) return;
            const size_t length = to - from;
            *bound++ = {static_cast<uint32_t>(from), static_cast<uint32_t>(to)};
            const uint16_t* left = from > 0 || job.border ? scratch.rising.data() : scratch.far.data();
            const uint16_t* right =
                to < width || job.border ? scratch.falling.data() + width - length : scratch.far.data();
            for (size_t i = 0; i < length; i += kLanes<uint16_t>) {
                const auto a = load(left + i), b = load(right + i);
                store(best + from + i, a < b ? a : b);
            }
        });
        for (size_t x = 0; x < width; ++x) best[x] = std::min(best[x], square[x]);
        std::fill(best + width, best + scratch.stride, uint16_t{0});
        search_row(square, best, width);
        for (const Bound* run = scratch.bounds.data(); run != bound; ++run) {
            const Label label = labels[run->begin];
            const uint16_t deepest = largest_of(best + run->begin, run->end - run->begin);
            if (deepest > kReach * kReach) return BandResult::kTooDeep;
            if (static_cast<uint64_t>(label) >= job.num_labels) return BandResult::kLabelTooLarge;
            scratch.most = std::max(scratch.most, static_cast<size_t>(label));
            raise(std::atomic_ref<uint32_t>(job.largest[static_cast<size_t>(label)]), uint32_t{deepest});
        }
        std::memcpy(reinterpret_cast<char*>(job.out + y * width) + 2 * width, best, 2 * width);
    }
    return BandResult::kDone;
}

// The squares that distance_band left in row y become distances over scale[label].
template <typename Label>
void divide_row(const Label* labels, const float* scale, float* out, size_t width, BandScratch& scratch) {
    uint16_t* square = scratch.best.data();
    float* divisor = scratch.divisor.data();
    std::memcpy(square, reinterpret_cast<const char*>(out) + 2 * width, 2 * width);
    for (size_t x = 0; x < width; ++x) divisor[x] = scale[static_cast<size_t>(labels[x])];
    // Squares below 2^24 are exact in float32, and so is the rounding of their roots.
    for (size_t x = 0; x < width; ++x) out[x] = std::sqrt(static_cast<float>(square[x])) / divisor[x];
}
