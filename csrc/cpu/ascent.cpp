#include "ascent.hpp"

#include <algorithm>

#include "row_window.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "ascent.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

// Labels of so many bytes are followed at a time, so that they stay in the cache over many sweeps.
constexpr size_t kStripBytes = size_t{512} << 10;

template <typename... Arguments>
bool point_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(point_row(arguments...))
}
template <typename... Arguments>
bool follow_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(follow_row(arguments...))
}

// Open pixels point to their highest neighbour, and pits get their numbers. Returns their pixels.
template <typename Value>
std::vector<uint32_t> point(const WatershedImage<Value>& image, size_t num_markers) {
    const Value* const map = image.map;
    int32_t* const labels = image.labels;
    const size_t height = image.height, width = image.width;
    std::vector<std::vector<uint32_t>> pits(image.bands.count());
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        RowWindow<Value> window(width, -std::numeric_limits<Value>::infinity());
        std::vector<int32_t> above(width);
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            if (!image.open_rows[y]) continue;
            window.move(y, height, [&](size_t row, Value* to) { std::copy_n(map + row * width, width, to); });
            const size_t base = y * width;
            // The row above the band belongs to another thread.
            const bool first = y == image.bands.begin(band);
            for (size_t x = 0; first && x < width; ++x) above[x] = ~static_cast<int32_t>(base + x - width);
            int32_t* const row = labels + base;
            const bool summits =
                point_row(window.up(), window.row(), window.down(), first ? above.data() : row - width,
                          static_cast<int32_t>(base), static_cast<int32_t>(width), width, row);
            for (size_t x = 0; summits && x < width; ++x)
                if (row[x] == ~static_cast<int32_t>(base + x)) pits[band].push_back(static_cast<uint32_t>(base + x));
        }
    });
    std::vector<uint32_t> all;
    for (const auto& found : pits) all.insert(all.end(), found.begin(), found.end());
    for (size_t i = 0; i < all.size(); ++i) labels[all[i]] = static_cast<int32_t>(num_markers + i + 1);
    return all;
}

// Every pointer becomes the number at its end: inside each strip of rows, then in the rows beside the seams, then where
// pointers lead from the inside of a strip across a seam.
template <typename Value>
void follow(const WatershedImage<Value>& image) {
    const size_t height = image.height, width = image.width;
    const size_t strip_rows = std::max<size_t>(8, kStripBytes / (sizeof(int32_t) * width));
    const size_t num_strips = (height + strip_rows - 1) / strip_rows;
    // Follows the pointers of row y that lead to rows [begin, end); returns whether such pointers are left.
    const auto follow_to = [&](size_t y, size_t begin, size_t end) {
        return follow_row(image.labels, y * width, (y + 1) * width, width, begin * width, end * width);
    };
    parallel_for(num_strips, image.num_threads, [&](size_t strip) {
        const size_t begin = strip * strip_rows, end = std::min(height, begin + strip_rows);
        std::vector<uint8_t> open(image.open_rows.begin() + static_cast<ptrdiff_t>(begin),
                                  image.open_rows.begin() + static_cast<ptrdiff_t>(end));
        const auto sweep_over = [&](size_t y) {
            if (open[y - begin]) open[y - begin] = follow_to(y, begin, end);
            return open[y - begin] != 0;
        };
        for (bool left = true; left;) {
            left = false;
            for (size_t y = end; y-- > begin;) left |= sweep_over(y);
            if (!left) break;
            left = false;
            for (size_t y = begin; y < end; ++y) left |= sweep_over(y);
        }
    });
    for (bool left = num_strips > 1; left;) {
        left = false;
        for (size_t seam = strip_rows; seam < height; seam += strip_rows)
            for (const size_t y : {seam - 1, seam})
                if (image.open_rows[y]) left |= follow_to(y, 0, height);
    }
    parallel_for(num_strips > 1 ? num_strips : 0, image.num_threads, [&](size_t strip) {
        const size_t begin = strip * strip_rows, end = std::min(height, begin + strip_rows);
        for (size_t y = strip == 0 ? begin : begin + 1; y < (end == height ? end : end - 1); ++y)
            if (image.open_rows[y]) follow_to(y, 0, height);
    });
}

}  // namespace

template <typename Value>
std::vector<uint32_t> ascend(const WatershedImage<Value>& image, size_t num_markers) {
    std::vector<uint32_t> pits = point(image, num_markers);
    follow(image);
    return pits;
}

template std::vector<uint32_t> ascend(const WatershedImage<float>&, size_t);
template std::vector<uint32_t> ascend(const WatershedImage<double>&, size_t);

}  // namespace dinocell
