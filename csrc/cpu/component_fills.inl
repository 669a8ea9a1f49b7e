// Rows of components, see component_fills.hpp. Included inside the namespace of an instruction set.
#include "simd.inl"

#include "mask_rows.inl"

// The edges of the mask and of the markers in one row; returns whether the row holds NaN.
template <typename Value>
bool threshold_edges(const Value* row, size_t width, Value fill, Value peak, RowEdges& edges) {
    const bool nan = threshold_row(row, width, fill, peak, edges.mask_bits.data(), edges.marker_bits.data());
    edges.num_mask = edges_of(edges.mask_bits.data(), width, edges.mask.data());
    edges.num_markers = edges_of(edges.marker_bits.data(), width, edges.markers.data());
    return nan;
}

// values[fill.begin .. fill.end) = fill.value for fills in order from the left; they cover the row without a gap.
inline void fill_row(const RowFill* fills, size_t count, int32_t* row, size_t width) {
    for (size_t i = 0; i < count; ++i) {
        const RowFill& fill = fills[i];
        DINOCELL_CHECK(fill.begin == (i == 0 ? 0 : fills[i - 1].end) && fill.end <= width);
        if (fill.end + kLanes<int32_t> <= width)
            fill_over(row + fill.begin, fill.end - fill.begin, fill.value);
        else
            std::fill(row + fill.begin, row + fill.end, fill.value);
    }
}
