// Rows of maxima, see summits.hpp. Included inside the namespace of an instruction set.

// Whether the columns [begin, end) of a row hold a summit: a pixel without a neighbour that is higher, or equal and
// before it. They have a neighbour on both sides.
template <typename Value>
bool has_summit(const Value* up, const Value* row, const Value* down, size_t begin, size_t end) {
    int32_t any = 0;
    for (size_t x = begin; x < end; ++x) {
        const Value here = row[x];
        any |= (up[x] < here) & (row[x - 1] < here) & (row[x + 1] <= here) & (down[x] <= here);
    }
    return any != 0;
}
