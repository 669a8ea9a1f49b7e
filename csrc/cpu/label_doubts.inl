// Rows of a check, see label_doubts.hpp. Included inside the namespace of an instruction set.
#include "simd.inl"

// Whether in a row all labels are certain: a pixel that is neither background nor marker has the label of every one of
// its highest neighbours. Arguments have one value before and after each row.
template <typename Value>
bool certain_row(const Value* up, const Value* row, const Value* down, const int32_t* labels_up, const int32_t* labels,
                 const int32_t* labels_down, Value peak, size_t width) {
    int32_t doubt = 0;
    for (size_t x = 0; x < width; ++x) {
        const Value left = row[x - 1], right = row[x + 1];
        const Value sides = left > right ? left : right, ends = up[x] > down[x] ? up[x] : down[x];
        const Value best = sides > ends ? sides : ends;
        const int32_t label = labels[x];
        const bool other = ((up[x] == best) & (labels_up[x] != label)) | ((left == best) & (labels[x - 1] != label)) |
                           ((right == best) & (labels[x + 1] != label)) |
                           ((down[x] == best) & (labels_down[x] != label));
        doubt |= other & (label != 0) & (row[x] <= peak);
    }
    return doubt == 0;
}

// Whether all of `count` numbers lie in [0, limit).
[[maybe_unused]] inline bool all_below(const int32_t* numbers, size_t count, size_t limit) {
    bool below = true;
    for (size_t i = 0; i < count; ++i) below &= static_cast<size_t>(numbers[i]) < limit;
    return below;
}

// to[x] = labels[basins[x]].
inline void label_row(const int32_t* basins, const int32_t* labels, [[maybe_unused]] size_t num_basins, size_t width,
                      int32_t* to) {
    DINOCELL_CHECK(all_below(basins, width, num_basins));
    for (size_t x = 0; x < width; ++x) to[x] = labels[basins[x]];
}

// to[x] = the level at which the flood takes the pixel: its value, or the level of its basin if that is lower.
template <typename Value>
void level_row(const Value* map, const int32_t* basins, const Value* levels, [[maybe_unused]] size_t num_basins,
               size_t width, Value* to) {
    DINOCELL_CHECK(all_below(basins, width, num_basins));
    for (size_t x = 0; x < width; ++x) to[x] = std::min(map[x], levels[basins[x]]);
}
