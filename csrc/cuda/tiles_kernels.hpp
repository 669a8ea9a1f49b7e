// Gather and blend of tiles for one thread of a grid; contracts in dinocell/tiles.hpp.
#pragma once

#include <cmath>

#include "launch.hpp"

namespace dinocell::device {

constexpr uint32_t kMaxStarts = 1024;

// First rows or columns of tiles, passed by value with the launch: no copy, no synchronisation, capturable in a graph.
struct Starts {
    uint32_t count;
    int32_t at[kMaxStarts];
};

// numpy's "reflect": ... 2 1 0 1 2 ... n-2 n-1 n-2 ... Most positions lie inside, and a division costs more than a
// pixel.
DINOCELL_HD int64_t mirrored(int64_t position, int64_t length) {
    if (position >= 0 && position < length) return position;
    if (length == 1) return 0;
    const int64_t period = 2 * (length - 1);
    int64_t folded = position % period;
    if (folded < 0) folded += period;
    return folded < period - folded ? folded : period - folded;
}

// The product and the sum are rounded separately, as on the CPU.
DINOCELL_HD float scaled(float pixel, float scale, float offset, float low, float high) {
#ifdef __CUDA_ARCH__
    const float value = __fadd_rn(__fmul_rn(pixel, scale), offset);
#else
    const float value = pixel * scale + offset;
#endif
    const float raised = low > value ? low : value;  // false for NaN, so NaN passes
    return high < raised ? high : raised;
}

// Each thread writes one column of kRows rows of one channel of one tile.
template <typename Pixel, typename Out>
struct Gather {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kColumns = 32, kRows = 8, kRowThreads = 8;
    static constexpr Size3 kBlock{kColumns, kRowThreads, 1};
    struct Shared {};
    struct Local {};

    const Pixel* image;
    uint64_t images;
    int64_t height, width;
    uint32_t channels, tile;
    const float* scale;  // by channel of each image
    const float* offset;
    float low, high;
    Out* out;
    Starts ys, xs;

    Grid grid() const {
        return {images * ys.count * xs.count * channels, blocks_for(tile, kColumns),
                blocks_for(tile, kRows * kRowThreads)};
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const uint32_t x = at.block.y * kColumns + at.thread.x;
        if (x >= tile) return;
        const uint32_t task = at.block.x, channel = task % channels;
        const uint32_t j = task / channels % xs.count, i = task / channels / xs.count % ys.count;
        const uint64_t plane_number = static_cast<uint64_t>(task / channels / xs.count / ys.count) * channels + channel;
        const int64_t column = mirrored(static_cast<int64_t>(xs.at[j]) + x, width);
        const Pixel* plane = image + plane_number * static_cast<uint64_t>(height * width);
        const float factor = scale[plane_number], shift = offset[plane_number];
        Out* to = out + static_cast<uint64_t>(task) * tile * tile;
        for (uint32_t r = 0; r < kRows; ++r) {
            const uint32_t y = (at.block.z * kRows + r) * kRowThreads + at.thread.y;
            if (y >= tile) return;
            const int64_t row = mirrored(static_cast<int64_t>(ys.at[i]) + y, height);
            const float pixel = static_cast<float>(plane[row * width + column]);
            to[static_cast<uint64_t>(y) * tile + x] = static_cast<Out>(scaled(pixel, factor, shift, low, high));
        }
    }
};

// Tiles over one position of an axis and their weights, divided by their sum; further ones than kKept are recomputed.
struct Cover {
    static constexpr uint32_t kKept = 4;
    uint32_t first, last;  // [first, last), empty where no tile lies
    float inverse_sum;
    float weight[kKept];
};

// w(i) = (1 - cos(pi (i + 1/2) / overlap)) / 2 on the ramps, 1 between.
DINOCELL_HD float ramp(int64_t i, uint32_t tile, uint32_t overlap) {
    const int64_t from_end = tile - 1 - i;
    const int64_t nearest = i < from_end ? i : from_end;
    if (nearest >= overlap) return 1.0f;
    const float phase = (static_cast<float>(nearest) + 0.5f) / static_cast<float>(overlap);
#ifdef __CUDA_ARCH__
    const float half = sinpif(0.5f * phase);
#else
    const float half = static_cast<float>(std::sin(0.5 * 3.14159265358979323846 * static_cast<double>(phase)));
#endif
    return half * half;  // (1 - cos a) / 2 = sin^2(a / 2), without the cancellation
}

// Starts ascend, so the tiles over a position are neighbours.
DINOCELL_HD Cover covered(int64_t position, const Starts& starts, uint32_t tile, uint32_t overlap) {
    Cover cover{};
    uint32_t first = 0;
    while (first < starts.count && static_cast<int64_t>(starts.at[first]) + tile <= position) ++first;
    cover.first = cover.last = first;
    float sum = 0.0f;
    while (cover.last < starts.count && starts.at[cover.last] <= position) {
        const float weight = ramp(position - starts.at[cover.last], tile, overlap);
        if (cover.last - first < Cover::kKept) cover.weight[cover.last - first] = weight;
        sum += weight;
        ++cover.last;
    }
    cover.inverse_sum = sum > 0.0f ? 1.0f / sum : 0.0f;
    return cover;
}

DINOCELL_HD float weight_of(const Cover& cover, uint32_t t, int64_t position, const Starts& starts, uint32_t tile,
                            uint32_t overlap) {
    if (t - cover.first < Cover::kKept) return cover.weight[t - cover.first];
    return ramp(position - starts.at[t], tile, overlap);
}

// Each thread pulls one column of kRows output rows from the tiles over it; each output pixel is written once.
template <typename In>
struct Blend {
    static constexpr int kPhases = 2;
    static constexpr uint32_t kColumns = 128, kRows = 16;
    static constexpr Size3 kBlock{kColumns, 1, 1};
    struct Shared {
        Cover row[kRows];
    };
    struct Local {};

    const In* tiles;
    uint64_t images;
    uint32_t tile, overlap;
    int64_t row_begin;
    uint64_t num_rows, width;
    float* out;
    Starts ys, xs;

    DINOCELL_HD uint64_t blocks_across() const { return blocks_for(width, kColumns); }
    DINOCELL_HD uint64_t blocks_down() const { return blocks_for(num_rows, kRows); }
    Grid grid() const { return {images * blocks_down() * blocks_across(), 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const auto across = static_cast<uint32_t>(blocks_across()), down = static_cast<uint32_t>(blocks_down());
        const uint64_t first_row = static_cast<uint64_t>(at.block.x / across % down) * kRows;
        if constexpr (Phase == 0) {
            const uint32_t r = at.thread.x;
            if (r < kRows && first_row + r < num_rows)
                shared.row[r] = covered(row_begin + static_cast<int64_t>(first_row + r), ys, tile, overlap);
        } else {
            const uint64_t image = at.block.x / across / down;
            const uint64_t x = static_cast<uint64_t>(at.block.x % across) * kColumns + at.thread.x;
            if (x >= width) return;
            const auto column = static_cast<int64_t>(x);
            const Cover cover = covered(column, xs, tile, overlap);
            for (uint32_t r = 0; r < kRows && first_row + r < num_rows; ++r) {
                const int64_t y = row_begin + static_cast<int64_t>(first_row + r);
                const Cover& rows = shared.row[r];
                float sum = 0.0f;
                for (uint32_t i = rows.first; i < rows.last; ++i) {
                    const float row_weight = weight_of(rows, i, y, ys, tile, overlap);
                    for (uint32_t j = cover.first; j < cover.last; ++j) {
                        const uint64_t number = (image * ys.count + i) * xs.count + j;
                        const uint64_t pixel = (number * tile + (y - ys.at[i])) * tile + (column - xs.at[j]);
                        sum += static_cast<float>(tiles[pixel]) * row_weight *
                               weight_of(cover, j, column, xs, tile, overlap);
                    }
                }
                out[(image * num_rows + first_row + r) * width + x] = sum * rows.inverse_sum * cover.inverse_sum;
            }
        }
    }
};

// The transpose of Blend, for its gradient: each thread writes one column of kRows rows of one tile, whose pixels get
// their weight times the image's pixel, and 0 outside it.
struct Spread {
    static constexpr int kPhases = 2;
    static constexpr uint32_t kColumns = 32, kRows = 8, kRowThreads = 8, kRowsOfBlock = kRows * kRowThreads;
    static constexpr Size3 kBlock{kColumns, kRowThreads, 1};
    struct Shared {
        float row_weight[kRowsOfBlock];
    };
    struct Local {};

    const float* image;
    uint64_t images;
    uint32_t tile, overlap;
    int64_t row_begin, row_end, width;
    float* out;
    Starts ys, xs;

    Grid grid() const {
        return {images * ys.count * xs.count, blocks_for(tile, kColumns), blocks_for(tile, kRowsOfBlock)};
    }

    // A tile's share of a position, 0 outside [begin, end).
    DINOCELL_HD float share(int64_t position, int64_t start, const Starts& starts, int64_t begin, int64_t end) const {
        if (position < begin || position >= end) return 0.0f;
        return ramp(position - start, tile, overlap) * covered(position, starts, tile, overlap).inverse_sum;
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const uint32_t j = at.block.x % xs.count, i = at.block.x / xs.count % ys.count;
        const uint32_t first = at.block.z * kRowsOfBlock;
        if constexpr (Phase == 0) {
            const uint32_t r = at.thread.y * kColumns + at.thread.x;
            const int64_t row = static_cast<int64_t>(ys.at[i]) + first + r;
            if (r < kRowsOfBlock && first + r < tile)
                shared.row_weight[r] = share(row, ys.at[i], ys, row_begin, row_end);
        } else {
            const uint32_t x = at.block.y * kColumns + at.thread.x;
            if (x >= tile) return;
            const uint64_t number = at.block.x / xs.count / ys.count;
            const uint64_t from = number * static_cast<uint64_t>((row_end - row_begin) * width);
            const int64_t column = static_cast<int64_t>(xs.at[j]) + x;
            const float column_weight = share(column, xs.at[j], xs, 0, width);
            for (uint32_t r = at.thread.y; r < kRowsOfBlock && first + r < tile; r += kRowThreads) {
                const int64_t row = static_cast<int64_t>(ys.at[i]) + first + r;
                const bool inside = row >= row_begin && row < row_end && column >= 0 && column < width;
                const uint64_t to = (static_cast<uint64_t>(at.block.x) * tile + first + r) * tile + x;
                const auto pixel = static_cast<uint64_t>((row - row_begin) * width + column);
                out[to] = inside ? shared.row_weight[r] * column_weight * image[from + pixel] : 0.0f;
            }
        }
    }
};

}  // namespace dinocell::device
