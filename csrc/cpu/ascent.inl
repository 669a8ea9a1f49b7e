// Rows of an ascent, see ascent.hpp. Included inside the namespace of an instruction set.
#include "simd.inl"

// Where each open pixel of a row gets its label from: its highest neighbour, as ~index, or at once what that one holds
// if it lies above; ~its own index for a pixel with no neighbour that is higher, or equal and before it.
// up, row, down: the map, with one value before and after each row. above: what the row above holds, or ~index.
// Returns whether the row has such pixels.
template <typename Value>
bool point_row(const Value* up, const Value* row, const Value* down, const int32_t* above, int32_t base, int32_t stride,
               size_t width, int32_t* out) {
    int32_t any = 0;
    for (size_t x = 0; x < width; ++x) {
        const Value here = row[x], left = row[x - 1], right = row[x + 1], below = down[x];
        const int32_t p = base + static_cast<int32_t>(x);
        Value best = up[x];
        int32_t from = above[x];
        from = left > best ? ~(p - 1) : from;
        best = left > best ? left : best;
        from = right > best ? ~(p + 1) : from;
        best = right > best ? right : best;
        from = below > best ? ~(p + stride) : from;
        best = below > best ? below : best;
        const bool summit = (best < here) | ((best == here) & (up[x] != here) & (left != here));
        from = summit ? ~p : from;
        const bool open = out[x] == kOpen;
        any |= open & summit;
        out[x] = open ? from : out[x];
    }
    return any != 0;
}

// Follows pointers by one step in the row of pixels [begin, end), last first; those that leave [low, high) stay.
// Returns whether a pointer inside is left.
inline bool follow_row(int32_t* labels, size_t begin, size_t end, [[maybe_unused]] size_t stride, size_t low,
                       size_t high) {
    const auto inside = [&](int32_t r) {
        const auto q = static_cast<size_t>(static_cast<uint32_t>(~r));
        return r < 0 && q >= low && q < high;
    };
    bool left = false;
    size_t p = end;
#if DINOCELL_AVX512
    const __m512i lowest = _mm512_set1_epi32(static_cast<int>(low)),
                  count = _mm512_set1_epi32(static_cast<int>(high - low));
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i below = _mm512_set1_epi32(static_cast<int>(stride)), one = _mm512_set1_epi32(1);
    for (; p >= begin + 16; p -= 16) {
        int32_t* at = labels + p - 16;
        __m512i r = _mm512_loadu_si512(at);
        const __mmask16 first = _mm512_movepi32_mask(r);
        if (first == 0) continue;
        const auto near_of = [&](__m512i pointers) {
            const __m512i q = _mm512_xor_si512(pointers, _mm512_set1_epi32(-1));
            return _mm512_mask_cmplt_epu32_mask(_mm512_movepi32_mask(pointers), _mm512_sub_epi32(q, lowest), count);
        };
        const __m512i here = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(p - 16)), lanes);
        __mmask16 near = near_of(r);
        for (int hop = 0; hop < 4 && near != 0; ++hop) {
            // Most pointers lead to a neighbour, and loading a vector of those is much cheaper than gathering.
            const __m512i q = _mm512_xor_si512(r, _mm512_set1_epi32(-1)), offset = _mm512_sub_epi32(q, here);
            const __mmask16 down = _mm512_mask_cmpeq_epi32_mask(near, offset, below);
            const __mmask16 right = _mm512_mask_cmpeq_epi32_mask(near, offset, one);
            const __mmask16 left_side = _mm512_mask_cmpeq_epi32_mask(near, offset, _mm512_set1_epi32(-1));
            const auto far = static_cast<__mmask16>(near & ~(down | right | left_side));
            r = _mm512_mask_loadu_epi32(r, down, at + stride);
            r = _mm512_mask_loadu_epi32(r, right, at + 1);
            r = _mm512_mask_loadu_epi32(r, left_side, at - 1);
            if (far != 0) r = _mm512_mask_i32gather_epi32(r, far, q, labels, 4);
            _mm512_mask_storeu_epi32(at, near, r);
            near = near_of(r);
        }
        left |= near != 0;
    }
#endif
    while (p-- > begin) {
        if (!inside(labels[p])) continue;
        DINOCELL_CHECK(labels[~labels[p]] != ~static_cast<int32_t>(p));
        labels[p] = labels[~labels[p]];
        left |= inside(labels[p]);
    }
    return left;
}
