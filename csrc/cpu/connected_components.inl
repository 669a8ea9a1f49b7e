// Included inside the namespace of an instruction set.
#include "simd.inl"

#include "mask_rows.inl"

// The edges of one row of a mask; `bits` holds a word for each 64 columns.
inline size_t mask_edges(const uint8_t* row, size_t width, uint64_t* bits, uint32_t* edges) {
    nonzero_row(row, width, bits);
    return edges_of(bits, width, edges);
}

// Labels of the rows [begin, end) from numbered runs.
inline void write_rows(const MaskComponents& components, size_t begin, size_t end, size_t width, int32_t* out) {
    for (size_t y = begin; y < end; ++y) {
        int32_t* row = out + y * width;
        size_t x = 0;
        const auto fill = [&](size_t to, int32_t value) __attribute__((always_inline)) {
            if (to + kLanes<int32_t> <= width)
                fill_over(row + x, to - x, value);
            else
                std::fill(row + x, row + to, value);
            x = to;
        };
        const RowRuns line = components.row(y);
        for (size_t i = 0; i < line.count; ++i) {
            fill(line.runs[i].begin, 0);
            fill(line.runs[i].end, static_cast<int32_t>(line.components[i] + 1));
        }
        std::fill(row + x, row + width, 0);
    }
}
