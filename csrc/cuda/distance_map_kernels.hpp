// Distance maps for one thread of a grid; contract in dinocell/distance_map.hpp.
//
// 1. ColumnRuns: distance of each pixel to the nearest other label in its column, band by band; what lies beyond a band
//    is looked up with an early exit at the cell's edge.
// 2. RowSearch: squared distance, min over dx of dx^2 + column distance^2, until dx^2 reaches the best so far; no label
//    beyond the end of the pixel's own run can matter, as dx^2 is then at least the squared distance to that end.
//    The largest of each run goes to its label's maximum.
// 3. Normalize: sqrt and division.
// Work is O(pixels x radius), for cells of any number.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>

#include "launch.hpp"

namespace dinocell::device {

constexpr uint16_t kUnbounded = 65535;  // no other label in the column
constexpr int64_t kMaxSide = 65534;
constexpr uint32_t kWholeImage = 4294967295u;  // no other label in the image

template <typename Label>
DINOCELL_HD bool is_negative(Label label) {
    if constexpr (static_cast<Label>(-1) < static_cast<Label>(0))
        return label < 0;
    else
        return false;
}

// The image and the column of a thread, where the blocks along x go through the columns of one image after the other.
struct InImage {
    int64_t image, x;

    DINOCELL_HD InImage(const Thread& at, uint32_t columns, int64_t width) {
        const auto blocks_each = static_cast<uint32_t>(blocks_for(static_cast<uint64_t>(width), columns));
        const uint32_t number = at.block.x / blocks_each;
        image = number;
        x = static_cast<int64_t>(at.block.x - number * blocks_each) * columns + at.thread.x;
    }
};

template <typename Label>
struct ColumnRuns {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kColumns = 128, kBand = 32;
    static constexpr Size3 kBlock{kColumns, 1, 1};
    struct Shared {};
    struct Local {};

    const Label* labels;
    int64_t images, height, width;
    bool border_is_background;
    uint16_t* runs;

    Grid grid() const { return {images * blocks_for(width, kColumns), blocks_for(height, kBand), 1}; }

    // Distance from (y, x) to the nearest other label in direction `step`; unbounded at a border that counts for none.
    DINOCELL_HD uint16_t look(const Label* labels, int64_t x, int64_t y, int64_t step) const {
        const Label label = labels[y * width + x];
        uint16_t distance = 1;
        for (int64_t to = y + step;; to += step, ++distance) {
            if (to < 0 || to >= height) return border_is_background ? distance : kUnbounded;
            if (labels[to * width + x] != label) return distance;
        }
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const InImage in(at, kColumns, width);
        const int64_t x = in.x;
        if (x >= width) return;
        const Label* labels = this->labels + in.image * height * width;
        uint16_t* runs = this->runs + in.image * height * width;
        const int64_t begin = static_cast<int64_t>(at.block.y) * kBand;
        const int64_t end = begin + kBand < height ? begin + kBand : height;
        uint16_t above[kBand];
        for (int64_t y = begin; y < end; ++y) {
            const Label label = labels[y * width + x];
            uint16_t distance = 0;
            if (label > 0) {
                if (y > begin && labels[(y - 1) * width + x] == label)
                    distance = extended(above[y - 1 - begin]);
                else
                    distance = y > begin ? 1 : look(labels, x, y, -1);
            }
            above[y - begin] = distance;
        }
        uint16_t below = 0;
        for (int64_t y = end - 1; y >= begin; --y) {
            const Label label = labels[y * width + x];
            if (label > 0) {
                if (y < end - 1 && labels[(y + 1) * width + x] == label)
                    below = extended(below);
                else
                    below = y < end - 1 ? 1 : look(labels, x, y, 1);
            } else {
                below = 0;
            }
            const uint16_t nearer = above[y - begin] < below ? above[y - begin] : below;
            runs[y * width + x] = nearer;
        }
    }

    DINOCELL_HD static uint16_t extended(uint16_t distance) {
        return distance == kUnbounded ? kUnbounded : static_cast<uint16_t>(distance + 1);
    }
};

template <typename Label>
struct RowSearch {
    static constexpr int kPhases = 2;
    static constexpr uint32_t kColumns = 256;
    static constexpr Size3 kBlock{kColumns, 1, 1};
    struct Shared {
        uint32_t square[kColumns];
        Label label[kColumns];
    };
    struct Local {};

    const Label* labels;
    int64_t images, height, width;
    bool border_is_background;
    const uint16_t* runs;
    uint32_t* squares;
    uint32_t* maxima;  // num_labels + 1 for each image, zeroed; null without normalisation
    int64_t num_labels;

    Grid grid() const { return {images * blocks_for(width, kColumns), static_cast<uint64_t>(height), 1}; }

    DINOCELL_HD uint32_t search(const Label* row, const uint16_t* run, int64_t x, int64_t y) const {
        const Label label = row[x];
        uint32_t best = run[x] == kUnbounded ? kWholeImage : static_cast<uint32_t>(run[x]) * run[x];
        bool open[2] = {true, true};
        for (int64_t dx = 1; (open[0] || open[1]) && static_cast<uint64_t>(dx) * dx < best; ++dx)
            for (int side = 0; side < 2; ++side) {
                if (!open[side]) continue;
                const int64_t to = side == 0 ? x - dx : x + dx;
                const auto square = static_cast<uint32_t>(dx * dx);
                const bool outside = to < 0 || to >= width;
                if (outside || row[to] != label) {
                    open[side] = false;
                    if ((!outside || border_is_background) && square < best) best = square;
                } else if (run[to] != kUnbounded) {
                    const uint32_t up = static_cast<uint32_t>(run[to]) * run[to];
                    if (up < best - square) best = square + up;  // square <= best, so that nothing wraps around
                }
            }
        return best == kWholeImage ? to_border(x, y) : best;
    }

    // A label that fills the image has no other edge than the border.
    DINOCELL_HD uint32_t to_border(int64_t x, int64_t y) const {
        int64_t nearest = x + 1;
        if (y + 1 < nearest) nearest = y + 1;
        if (width - x < nearest) nearest = width - x;
        if (height - y < nearest) nearest = height - y;
        return static_cast<uint32_t>(nearest * nearest);
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const InImage in(at, kColumns, width);
        const int64_t x = in.x, y = at.block.y;
        const uint32_t here = at.thread.x;
        if constexpr (Phase == 0) {
            if (x >= width) return;
            const int64_t row = (in.image * height + y) * width;
            const Label label = labels[row + x];
            const uint32_t square = label > 0 ? search(labels + row, runs + row, x, y) : 0;
            shared.label[here] = label;
            shared.square[here] = square;
            squares[row + x] = square;
        } else {
            if (x >= width || maxima == nullptr) return;
            const Label label = shared.label[here];
            if (label <= 0 || static_cast<int64_t>(label) > num_labels) return;
            // One thread of a run's plateau speaks for it: an atomic for every pixel would queue up.
            const uint32_t square = shared.square[here];
            const bool rises = here == 0 || shared.label[here - 1] != label || shared.square[here - 1] < square;
            const bool last = here + 1 == kColumns || x + 1 == width || shared.label[here + 1] != label;
            if (rises && (last || shared.square[here + 1] <= square))
                atomic_max(maxima + in.image * (num_labels + 1) + label, square);
        }
    }
};

DINOCELL_HD float root(uint32_t square) {
    // up to 2^24 a float holds the square exactly; above, the root of the double rounds to the same float
#ifdef __CUDA_ARCH__
    return square <= (1u << 24) ? __fsqrt_rn(static_cast<float>(square)) : static_cast<float>(__dsqrt_rn(square));
#else
    return static_cast<float>(std::sqrt(static_cast<double>(square)));
#endif
}

// Squares become distances in place. A label that is negative or above num_labels becomes NaN, never a wrong number.
template <typename Label>
struct Normalize {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 256, kEach = 4;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {};
    struct Local {};

    const Label* labels;
    uint64_t images, pixels_each;
    const uint32_t* maxima;
    int64_t num_labels;
    uint32_t* squares;  // the same memory as out
    float* out;

    Grid grid() const { return {images * blocks_for(pixels_each, kThreads * kEach), 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const auto blocks_each = static_cast<uint32_t>(blocks_for(pixels_each, kThreads * kEach));
        const uint32_t image = at.block.x / blocks_each, block = at.block.x - image * blocks_each;
        for (uint32_t k = 0; k < kEach; ++k) {
            const uint64_t inside = (static_cast<uint64_t>(block) * kEach + k) * kThreads + at.thread.x;
            if (inside >= pixels_each) return;
            const uint64_t p = image * pixels_each + inside;
            out[p] = value(p, maxima == nullptr ? nullptr : maxima + image * static_cast<uint64_t>(num_labels + 1));
        }
    }

    DINOCELL_HD float value(uint64_t p, const uint32_t* maxima) const {
        const Label label = labels[p];
        if (label == 0) return 0.0f;
        if (is_negative(label) || (maxima != nullptr && static_cast<int64_t>(label) > num_labels)) return NAN;
        const float distance = root(squares[p]);
        if (maxima == nullptr) return distance;
#ifdef __CUDA_ARCH__
        return __fdiv_rn(distance, root(maxima[label]));
#else
        return distance / root(maxima[label]);
#endif
    }
};

// Squares of distances must be below kWholeImage: sides up to kMaxSide, and diagonals below 65,536.
inline void require_distances_fit(uint64_t height, uint64_t width) {
    if (height == 0 || width == 0) return;
    const uint64_t down = height - 1, across = width - 1;
    if (height <= kMaxSide && width <= kMaxSide && down * down + across * across < kWholeImage) return;
    throw std::invalid_argument("labels have shape " + std::to_string(height) + " x " + std::to_string(width) +
                                "; a GPU call takes sides up to 65534 and diagonals below 65536 pixels: process the "
                                "image in parts");
}

template <typename Label, typename Run>
void distance_map(const Label* labels, size_t images, size_t height, size_t width, size_t num_labels,
                  bool border_is_background, float* out, uint16_t* runs, uint32_t* squares, uint32_t* maxima,
                  const Run& run) {
    require_distances_fit(height, width);
    if (images * height * width == 0) return;
    const auto count = static_cast<int64_t>(images), rows = static_cast<int64_t>(height),
               columns = static_cast<int64_t>(width), limit = static_cast<int64_t>(num_labels);
    if (maxima != nullptr) run.fill(maxima, 0, images * (num_labels + 1) * sizeof(uint32_t));
    run("distance_map: columns", ColumnRuns<Label>{labels, count, rows, columns, border_is_background, runs});
    run("distance_map: rows",
        RowSearch<Label>{labels, count, rows, columns, border_is_background, runs, squares, maxima, limit});
    run("distance_map: normalize", Normalize<Label>{labels, images, height * width, maxima, limit, squares, out});
}

}  // namespace dinocell::device
