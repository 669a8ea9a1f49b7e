#include "dinocell/tiles.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

// numpy's "reflect": ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
size_t mirrored(int64_t position, size_t length) {
    if (length == 1) return 0;
    const auto period = static_cast<int64_t>(2 * (length - 1));
    int64_t folded = position % period;
    if (folded < 0) folded += period;
    return static_cast<size_t>(std::min(folded, period - folded));
}

// Clip as two comparisons that are false for NaN, so NaN passes.
#define DINOCELL_SCALE_ROW(Pixel)                                                                                   \
    DINOCELL_CLONES void scale_row(const Pixel* row, size_t count, float scale, float offset, float low, float high, \
                                   float* out) {                                                                    \
        for (size_t x = 0; x < count; ++x) {                                                                        \
            const float value = static_cast<float>(row[x]) * scale + offset;                                        \
            const float raised = low > value ? low : value;                                                         \
            out[x] = high < raised ? high : raised;                                                                 \
        }                                                                                                           \
    }
DINOCELL_SCALE_ROW(uint8_t)
DINOCELL_SCALE_ROW(uint16_t)
DINOCELL_SCALE_ROW(float)
#undef DINOCELL_SCALE_ROW

DINOCELL_CLONES void add_weighted(const float* tile, const float* weight, float row_weight, size_t count, float* out) {
    for (size_t x = 0; x < count; ++x) out[x] += tile[x] * (weight[x] * row_weight);
}

}  // namespace

template <typename Pixel>
void gather_tiles(const Pixel* image, size_t channels, size_t height, size_t width, const int64_t* ys, size_t num_ys,
                  const int64_t* xs, size_t num_xs, size_t tile, const float* scale, const float* offset, float low,
                  float high, float* out, size_t num_threads) {
    num_threads = resolve_threads(num_threads, num_ys * num_xs * channels * tile * tile);
    std::vector<size_t> column(num_xs * tile);
    for (size_t j = 0; j < num_xs; ++j)
        for (size_t x = 0; x < tile; ++x) column[j * tile + x] = mirrored(xs[j] + static_cast<int64_t>(x), width);

    parallel_for(num_ys * num_xs * channels, num_threads, [&](size_t task) {
        const size_t i = task / (num_xs * channels), j = task / channels % num_xs, c = task % channels;
        const bool inside = xs[j] >= 0 && xs[j] + static_cast<int64_t>(tile) <= static_cast<int64_t>(width);
        std::vector<Pixel> mirrored_row(inside ? 0 : tile);
        for (size_t y = 0; y < tile; ++y) {
            const Pixel* row = image + (c * height + mirrored(ys[i] + static_cast<int64_t>(y), height)) * width;
            const Pixel* from = mirrored_row.data();
            if (inside)
                from = row + xs[j];
            else
                for (size_t x = 0; x < tile; ++x) mirrored_row[x] = row[column[j * tile + x]];
            scale_row(from, tile, scale[c], offset[c], low, high, out + (task * tile + y) * tile);
        }
    });
}

void blend_weights(const int64_t* starts, size_t num_starts, size_t tile, size_t overlap, int64_t begin, int64_t end,
                   const char* axis, float* out) {
    std::vector<double> ramp(tile, 1.0);
    for (size_t i = 0; i < overlap; ++i) {
        const double phase = std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(overlap);
        ramp[i] = ramp[tile - 1 - i] = 0.5 * (1.0 - std::cos(phase));
    }
    const auto length = static_cast<int64_t>(tile);
    std::vector<double> sum(static_cast<size_t>(end - begin), 0.0);
    auto for_each_position = [&](size_t t, const auto& visit) {
        for (int64_t p = std::max(begin, starts[t]); p < std::min(end, starts[t] + length); ++p)
            visit(static_cast<size_t>(p - begin), static_cast<size_t>(p - starts[t]));
    };
    for (size_t t = 0; t < num_starts; ++t)
        for_each_position(t, [&](size_t p, size_t i) { sum[p] += ramp[i]; });
    for (size_t p = 0; p < sum.size(); ++p)
        if (sum[p] == 0.0)
            throw std::invalid_argument(std::string(axis) + " " + std::to_string(begin + static_cast<int64_t>(p)) +
                                        " lies under no tile; give every tile that touches " + axis + "s " +
                                        std::to_string(begin) + " to " + std::to_string(end - 1));
    std::fill(out, out + num_starts * tile, 0.0f);
    for (size_t t = 0; t < num_starts; ++t)
        for_each_position(t, [&](size_t p, size_t i) { out[t * tile + i] = static_cast<float>(ramp[i] / sum[p]); });
}

void blend_tiles(const float* tiles, size_t num_ys, size_t num_xs, size_t tile, const int64_t* ys, const int64_t* xs,
                 size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out, size_t num_threads) {
    const auto num_rows = static_cast<size_t>(row_end - row_begin);
    const auto columns = static_cast<int64_t>(width), length = static_cast<int64_t>(tile);
    num_threads = resolve_threads(num_threads, num_rows * width);
    std::vector<float> row_weight(num_ys * tile), column_weight(num_xs * tile);
    blend_weights(ys, num_ys, tile, overlap, row_begin, row_end, "row", row_weight.data());
    blend_weights(xs, num_xs, tile, overlap, 0, columns, "column", column_weight.data());

    constexpr size_t kRows = 32;
    parallel_for((num_rows + kRows - 1) / kRows, num_threads, [&](size_t band) {
        for (size_t r = band * kRows; r < std::min(num_rows, (band + 1) * kRows); ++r) {
            float* to = out + r * width;
            std::fill(to, to + width, 0.0f);
            const int64_t y = row_begin + static_cast<int64_t>(r);
            for (size_t i = 0; i < num_ys; ++i) {
                if (y < ys[i] || y >= ys[i] + length) continue;
                const auto inner = static_cast<size_t>(y - ys[i]);
                for (size_t j = 0; j < num_xs; ++j) {
                    const int64_t first = std::max<int64_t>(0, xs[j]), last = std::min(columns, xs[j] + length);
                    if (first >= last) continue;
                    const auto skipped = static_cast<size_t>(first - xs[j]);
                    add_weighted(tiles + ((i * num_xs + j) * tile + inner) * tile + skipped,
                                 column_weight.data() + j * tile + skipped, row_weight[i * tile + inner],
                                 static_cast<size_t>(last - first), to + first);
                }
            }
        }
    });
}

#define DINOCELL_GATHER(Pixel)                                                                                     \
    template void gather_tiles(const Pixel*, size_t, size_t, size_t, const int64_t*, size_t, const int64_t*, size_t, \
                               size_t, const float*, const float*, float, float, float*, size_t);
DINOCELL_GATHER(uint8_t)
DINOCELL_GATHER(uint16_t)
DINOCELL_GATHER(float)
#undef DINOCELL_GATHER

}  // namespace dinocell
