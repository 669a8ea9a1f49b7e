#include "ascent.hpp"

#include <algorithm>

#include "checked.hpp"
#include "row_window.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "ascent.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

// Labels of so many bytes are followed at a time, so that they stay in the cache over many sweeps.
constexpr size_t kStripBytes = cut_size(size_t{512} << 10, 64);
constexpr size_t kLeastStripRows = cut_size(8, 3);

// The rows of an image in strips, the same for any number of threads.
struct Strips {
    Strips(size_t height_, size_t width)
        : height(height_), rows(std::max<size_t>(kLeastStripRows, kStripBytes / (sizeof(int32_t) * width))),
          count((height + rows - 1) / rows) {}
    size_t begin(size_t strip) const { return strip * rows; }
    size_t end(size_t strip) const { return std::min(height, (strip + 1) * rows); }
    bool begins_at(size_t y) const { return y % rows == 0; }

    size_t height, rows, count;
};

template <typename... Arguments>
bool point_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(point_row(arguments...))
}
template <typename... Arguments>
bool follow_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(follow_row(arguments...))
}

// Open pixels point to their highest neighbour or to where that one points, and pits get their numbers. No pointer
// leaves its strip but for the row beside it: only so may strips be followed at the same time. Returns the pits'
// pixels.
template <typename Value>
std::vector<uint32_t> point(const WatershedImage<Value>& image, const Strips& strips, size_t num_markers) {
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
            // The row above the band belongs to another thread, and what the row above the strip holds leads too far.
            const bool first = y == image.bands.begin(band) || strips.begins_at(y);
            for (size_t x = 0; first && x < width; ++x) above[x] = ~static_cast<int32_t>(base + x - width);
            int32_t* const row = labels + base;
            const bool summits = point_row(window.up(), window.row(), window.down(), first ? above.data() : row - width,
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

// Whether all pointers of the rows [begin, end) lead to the row before or after these.
[[maybe_unused]] bool lead_beside(const int32_t* labels, size_t width, size_t begin, size_t end) {
    return std::all_of(labels + begin * width, labels + end * width, [&](int32_t label) {
        const size_t row = static_cast<size_t>(~label) / width;
        return label >= 0 || row + 1 == begin || row == end;
    });
}

// Every pointer becomes the number at its end: inside each strip of rows, which leaves pointers to the rows beside the
// seams; then in those rows, one after the other; then in the others, one step away from them.
template <typename Value>
void follow(const WatershedImage<Value>& image, const Strips& strips) {
    const size_t height = image.height, width = image.width;
    // Follows the pointers of row y that lead to rows [begin, end); returns whether such pointers are left.
    const auto follow_to = [&](size_t y, size_t begin, size_t end) {
        DINOCELL_CHECK(begin <= y && y < end && end <= height);
        return follow_row(image.labels, y * width, (y + 1) * width, width, begin * width, end * width);
    };
    parallel_for(strips.count, image.num_threads, [&](size_t strip) {
        const size_t begin = strips.begin(strip), end = strips.end(strip);
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
        DINOCELL_CHECK(lead_beside(image.labels, width, begin, end));
    });
    if (strips.count == 1) return;
    for (bool left = true; left;) {
        left = false;
        for (size_t strip = 1; strip < strips.count; ++strip)
            for (const size_t y : {strips.begin(strip) - 1, strips.begin(strip)})
                if (image.open_rows[y]) left |= follow_to(y, 0, height);
    }
    parallel_for(strips.count, image.num_threads, [&](size_t strip) {
        const size_t begin = strips.begin(strip), end = strips.end(strip);
        for (size_t y = strip == 0 ? begin : begin + 1; y < (end == height ? end : end - 1); ++y)
            if (image.open_rows[y]) {
                [[maybe_unused]] const bool left = follow_to(y, 0, height);
                DINOCELL_CHECK(!left);
            }
    });
}

}  // namespace

template <typename Value>
std::vector<uint32_t> ascend(const WatershedImage<Value>& image, size_t num_markers) {
    const Strips strips(image.height, image.width);
    std::vector<uint32_t> pits = point(image, strips, num_markers);
    follow(image, strips);
    return pits;
}

template std::vector<uint32_t> ascend(const WatershedImage<float>&, size_t);
template std::vector<uint32_t> ascend(const WatershedImage<double>&, size_t);

}  // namespace dinocell
